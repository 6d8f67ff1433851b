-- The three raw tables of the space in the current folder, as of the time `as_of`.
--
-- Times stay text: a space spells each time in one way, so text order is time order. Traits are read as JSON, because a
-- trait may be a number in one row and a text in another.

CREATE TEMP TABLE id_graph_updates AS
SELECT *
FROM read_ndjson('id_graph_updates.ndjson', columns = {
    segment_id: 'VARCHAR', canonical_segment_id: 'VARCHAR',
    seq: 'VARCHAR', timestamp: 'VARCHAR', received_at: 'VARCHAR', uuid_ts: 'VARCHAR'
})
WHERE uuid_ts <= getvariable('as_of');

CREATE TEMP TABLE external_id_mapping_updates AS
SELECT *
FROM read_ndjson('external_id_mapping_updates.ndjson', columns = {
    external_id_hash: 'VARCHAR', external_id_type: 'VARCHAR', external_id_value: 'VARCHAR', segment_id: 'VARCHAR',
    seq: 'VARCHAR', timestamp: 'VARCHAR', received_at: 'VARCHAR', uuid_ts: 'VARCHAR'
})
WHERE uuid_ts <= getvariable('as_of');

CREATE TEMP TABLE profile_traits_updates AS
SELECT
    * EXCLUDE (
        id, triggering_event_id, triggering_event_name, triggering_event_type,
        triggering_event_source_id, triggering_event_source_name, triggering_event_source_slug
    )
    REPLACE (
        segment_id ->> '$' AS segment_id,
        seq ->> '$' AS seq,
        timestamp ->> '$' AS timestamp,
        received_at ->> '$' AS received_at,
        uuid_ts ->> '$' AS uuid_ts,
        __trait_seqs ->> '$' AS __trait_seqs
    )
FROM read_ndjson('profile_traits_updates.ndjson', maximum_depth = 1, sample_size = -1, map_inference_threshold = -1)
WHERE (uuid_ts ->> '$') <= getvariable('as_of');
