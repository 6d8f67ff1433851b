"""Runs SQL over the tables of a space, with DuckDB.

usage: run.py OUT [--setup FILE] [--as-of T] QUERY.sql...

Runs in the current folder, so queries refer to tables by file name. The result of each query becomes a table with the
name of the query's file, which later queries may use, and is written to OUT/NAME.ndjson in the order of its rows.
"""

import argparse
import pathlib

import duckdb

arguments = argparse.ArgumentParser()
arguments.add_argument("out", type=pathlib.Path)
arguments.add_argument("--setup", type=pathlib.Path)
arguments.add_argument("--as-of", default="9999-12-31")
arguments.add_argument("queries", nargs="+", type=pathlib.Path)
options = arguments.parse_args()

connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute("SET VARIABLE as_of = ?", [options.as_of])
if options.setup:
    connection.execute(options.setup.read_text())
options.out.mkdir(parents=True, exist_ok=True)
for query in options.queries:
    name = query.stem
    out = str(options.out / f"{name}.ndjson").replace("'", "''")
    select = query.read_text().strip().removesuffix(";")
    connection.execute(f'CREATE TEMP TABLE "{name}" AS {select}')
    connection.execute(f"COPY (FROM \"{name}\") TO '{out}' (FORMAT json)")
