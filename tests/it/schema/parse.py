"""Parses scripts of statements, each in the dialect that it is called after, and prints what they are.

usage: parse.py DIALECT SCRIPT.sql

Prints one line for each kind of statement: its name and how many there are. A statement that the parser only passes over is
called Command; the one that is known to be such, BigQuery's DROP EXTERNAL TABLE, is left out.
"""

import collections
import logging
import pathlib
import sys

import sqlglot

# It warns of each statement that it passes over; the test counts them.
logging.disable(logging.CRITICAL)
dialect, script = sys.argv[1:]
statements = sqlglot.parse(pathlib.Path(script).read_text(), read=dialect)
kinds = collections.Counter(
    type(statement).__name__
    for statement in statements
    if statement and "DROP EXTERNAL TABLE" not in statement.sql(dialect)
)
for kind, count in sorted(kinds.items()):
    print(kind, count)
