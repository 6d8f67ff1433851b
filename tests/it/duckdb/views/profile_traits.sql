-- The traits of every profile ever created. A row of `profile_traits_updates` is a full snapshot of its profile, and a
-- merge that adds traits writes one for the survivor. The newest row of a survivor therefore has all its traits.
WITH newest AS (
    FROM profile_traits_updates
    QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY seq DESC, uuid_ts DESC) = 1
),
profiles AS (
    SELECT
        segment_id AS profile,
        CASE WHEN segment_id = canonical_segment_id THEN segment_id END AS survivor,
        CASE WHEN segment_id <> canonical_segment_id THEN canonical_segment_id END AS merged_to
    FROM id_graph
)
SELECT
    profile AS canonical_segment_id,
    newest.* EXCLUDE (segment_id, seq, timestamp, received_at, uuid_ts, __trait_seqs),
    merged_to
FROM profiles
LEFT JOIN newest ON newest.segment_id = survivor
ORDER BY profile
