-- The identifiers of each profile, each with the clocks of its own row.
SELECT
    graph.canonical_segment_id,
    own.external_id_type AS type,
    own.external_id_value AS value,
    own.seq,
    own.received_at,
    own.uuid_ts,
    own.timestamp
FROM external_id_mapping_updates AS own
JOIN id_graph AS graph USING (segment_id)
ORDER BY canonical_segment_id, type, value
