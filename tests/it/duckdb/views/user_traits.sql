-- The traits of each profile, one row per trait. `__trait_seqs` in the newest row has the `seq` that set each trait.
-- The clocks are those of the row with this `seq`, which belongs to the profile or to one merged into it.
--
-- DuckDB respells numbers (`539.4` for `539.40`); the program keeps them as sent.
WITH present AS (
    SELECT canonical_segment_id AS profile, name, value ->> '$' AS value
    FROM (
        UNPIVOT (SELECT * EXCLUDE (merged_to) FROM profile_traits WHERE merged_to IS NULL)
        ON COLUMNS(* EXCLUDE (canonical_segment_id)) INTO NAME name VALUE value
    )
),
newest AS (
    SELECT segment_id AS profile, __trait_seqs
    FROM profile_traits_updates
    QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY seq DESC, uuid_ts DESC) = 1
),
set_at AS (
    -- The column of `address.city` is `address_city`. A removed trait has no value to join with, unless its name is the
    -- column of another trait: then the path with a dot counts.
    SELECT
        profile,
        replace(path, '.', '_') AS name,
        max_by(seq, path LIKE '%.%') AS seq,
        max_by(path, path LIKE '%.%') AS path
    FROM (
        SELECT
            profile,
            unnest(json_keys(__trait_seqs)) AS path,
            unnest(json_extract_string(__trait_seqs, '$.*')) AS seq
        FROM newest
    )
    GROUP BY profile, name
),
traits AS (
    FROM present JOIN set_at USING (profile, name)
),
setters AS (
    SELECT
        graph.canonical_segment_id AS profile,
        updates.seq,
        updates.received_at,
        updates.uuid_ts,
        updates.timestamp,
        updates.__trait_seqs,
        count(*) OVER (PARTITION BY graph.canonical_segment_id, updates.seq) AS n_with_seq
    FROM profile_traits_updates AS updates
    JOIN id_graph AS graph USING (segment_id)
)
SELECT profile AS canonical_segment_id, name, value, seq, received_at, uuid_ts, timestamp
FROM (
    FROM traits JOIN setters USING (profile, seq)
    WHERE n_with_seq = 1
    UNION ALL
    -- Two profiles may have had rows with the same `seq` before they merged. The newest row that sets the trait counts.
    FROM traits JOIN setters USING (profile, seq)
    WHERE n_with_seq > 1
    QUALIFY row_number() OVER (
        PARTITION BY profile, name
        ORDER BY json_extract_string(__trait_seqs, '$."' || path || '"') = seq DESC, timestamp DESC, uuid_ts DESC
    ) = 1
)
ORDER BY profile, name
