-- Which profile a segment id is now: what the newest of its rows says. A merge writes a row for every segment id that
-- mapped to the profile merged away, so no chain has to be followed.
SELECT segment_id, canonical_segment_id, timestamp, seq, uuid_ts
FROM id_graph_updates
QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY seq DESC, uuid_ts DESC) = 1
ORDER BY segment_id
