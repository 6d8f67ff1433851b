-- Counts the situations in the dump in which views easily go wrong.
SELECT
    -- Profiles merged away.
    (
        SELECT count(*) FROM id_graph WHERE segment_id <> canonical_segment_id
    ) AS merged,
    -- Profiles merged away that had traits.
    (
        SELECT count(*) FROM id_graph
        WHERE segment_id <> canonical_segment_id AND segment_id IN (SELECT segment_id FROM profile_traits_updates)
    ) AS merged_with_traits,
    -- Profiles whose survivor was later merged away too.
    (
        SELECT count(*)
        FROM (SELECT segment_id FROM id_graph_updates GROUP BY ALL HAVING count(DISTINCT canonical_segment_id) > 2)
    ) AS merged_twice,
    -- Identify calls older than the traits already known.
    (
        SELECT count(*)
        FROM (
            SELECT timestamp < lag(timestamp) OVER (PARTITION BY segment_id ORDER BY seq) AS late
            FROM profile_traits_updates
        )
        WHERE late
    ) AS late_identifies,
    -- Removed traits.
    (
        SELECT count(*)
        FROM (
            SELECT DISTINCT segment_id, unnest(json_keys(__trait_seqs)) AS name FROM profile_traits_updates
        ) AS said
        JOIN id_graph USING (segment_id)
        ANTI JOIN user_traits USING (canonical_segment_id, name)
        WHERE name NOT LIKE '%.%'
    ) AS removed_traits,
    -- Rows with the same `seq` in two profiles that later merged.
    (
        SELECT count(*)
        FROM (
            SELECT canonical_segment_id, profile_traits_updates.seq
            FROM profile_traits_updates
            JOIN id_graph USING (segment_id)
            GROUP BY ALL
            HAVING count(*) > 1
        )
    ) AS shared_seqs,
    -- Traits that compete for one column.
    (
        SELECT count(*)
        FROM (
            SELECT segment_id, seq, unnest(json_keys(__trait_seqs)) AS path FROM profile_traits_updates
        )
        WHERE path = 'address_city'
    ) AS shared_columns
