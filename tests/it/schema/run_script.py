"""Runs a script of statements in a DuckDB file, or prints the rows of a query.

usage: run_script.py DATABASE run SCRIPT.sql
       run_script.py DATABASE rows QUERY

Works in the current folder. A row is printed as one JSON object, as the texts of its values.
"""

import json
import pathlib
import sys

import duckdb

database, what, argument = sys.argv[1:]
connection = duckdb.connect(database)
connection.execute("SET TimeZone = 'UTC'")
if what == "run":
    connection.execute(pathlib.Path(argument).read_text())
else:
    cursor = connection.execute(argument)
    names = [column[0] for column in cursor.description]
    while rows := cursor.fetchmany(10000):
        for row in rows:
            print(json.dumps(dict(zip(names, row))))
