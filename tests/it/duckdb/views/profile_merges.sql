-- The segment ids of each profile, including its own.
SELECT canonical_segment_id, segment_id, seq, received_at, uuid_ts, timestamp
FROM id_graph_updates
QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY seq DESC, uuid_ts DESC) = 1
ORDER BY canonical_segment_id, segment_id
