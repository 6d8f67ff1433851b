-- The profile that each identifier maps to. The clocks are those of its own row or of the merge of its profile,
-- whichever is later.
SELECT
    graph.canonical_segment_id,
    own.external_id_type,
    own.external_id_value,
    own.external_id_hash,
    unnest(CASE
        WHEN graph.segment_id <> graph.canonical_segment_id AND (own.seq, own.uuid_ts) < (graph.seq, graph.uuid_ts)
        THEN {timestamp: graph.timestamp, seq: graph.seq, uuid_ts: graph.uuid_ts}
        ELSE {timestamp: own.timestamp, seq: own.seq, uuid_ts: own.uuid_ts}
    END)
FROM external_id_mapping_updates AS own
JOIN id_graph AS graph USING (segment_id)
ORDER BY external_id_hash, external_id_type, external_id_value
