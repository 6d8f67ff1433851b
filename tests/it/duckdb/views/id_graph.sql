-- The profile of each segment id, from the newest of its rows. A merge writes a row for every segment id that mapped to
-- the profile merged away, so there are no chains to follow.
SELECT segment_id, canonical_segment_id, timestamp, seq, uuid_ts
FROM id_graph_updates
QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY seq DESC, uuid_ts DESC) = 1
ORDER BY segment_id
