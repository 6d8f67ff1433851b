"""Compares two folders of views in DuckDB, as `diff` does: a keyed full outer join of each of the six views.

usage: diff.py OLD NEW
"""

import sys

import duckdb

CLOCKS = ["timestamp", "seq", "uuid_ts"]
VIEWS = {
    "external_id_mapping": (
        ["external_id_hash", "external_id_type", "external_id_value"],
        ["canonical_segment_id", *CLOCKS],
    ),
    "id_graph": (["segment_id"], ["canonical_segment_id", *CLOCKS]),
    "profile_merges": (["canonical_segment_id", "segment_id"], ["received_at", *CLOCKS]),
    # The columns are the traits, so DuckDB has to detect them.
    "profile_traits": (["canonical_segment_id"], None),
    "user_identifiers": (["canonical_segment_id", "type", "value"], ["received_at", *CLOCKS]),
    "user_traits": (["canonical_segment_id", "name"], ["value", "received_at", *CLOCKS]),
}


def source(path, columns):
    """Returns SQL that reads a view; declared columns are faster than detected ones."""
    if columns is None:
        return f"read_ndjson('{path}', sample_size = -1)"
    types = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    return f"read_ndjson('{path}', columns = {{{types}}})"


def compare(connection, old, new, view):
    """Returns the numbers of rows that are the same, added, removed and changed."""
    key, columns = VIEWS[view]
    files = [f"{folder}/{view}.ndjson" for folder in (old, new)]
    if columns is None:
        found = [connection.execute(f"DESCRIBE SELECT * FROM {source(file, None)}").fetchall() for file in files]
        names = [[row[0] for row in rows] for rows in found]
        sources = [source(file, of_side) for file, of_side in zip(files, names)]
        columns = sorted({name for of_side in names for name in of_side} - set(key))
    else:
        sources = [source(file, key + columns) for file in files]
        names = [key + columns] * 2
    on = " AND ".join(f'o."{column}" = n."{column}"' for column in key)
    side = [lambda c, s=s, a=a: f'{a}."{c}"' if c in s else "NULL" for s, a in zip(names, "on")]
    changed = " OR ".join(f"{side[0](column)} IS DISTINCT FROM {side[1](column)}" for column in columns)
    both = f'o."{key[0]}" IS NOT NULL AND n."{key[0]}" IS NOT NULL'
    return connection.execute(
        f"""SELECT count(*) FILTER ({both} AND NOT ({changed})), count(*) FILTER (o."{key[0]}" IS NULL),
                   count(*) FILTER (n."{key[0]}" IS NULL), count(*) FILTER ({both} AND ({changed}))
            FROM {sources[0]} o FULL JOIN {sources[1]} n ON {on}"""
    ).fetchone()


def main():
    """Prints the counts of each view."""
    old, new = sys.argv[1:]
    connection = duckdb.connect()
    for view in VIEWS:
        print(view, *compare(connection, old, new, view))


main()
