"""Presses TAB in an interactive bash and checks what the terminal shows.

usage: press_tab.py LINE EXPECTED [LINE EXPECTED]...

Runs in a folder with `completions`. Exits with 1 if the terminal does not show EXPECTED within twenty seconds.
"""

import os
import pty
import select
import sys
import time

child, terminal = pty.fork()
if child == 0:
    os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "> "})


def shown(expected):
    """Reads until the terminal shows the expected text."""
    text, end = "", time.monotonic() + 20
    while expected not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
    if expected not in text:
        sys.exit(f"{expected!r} does not appear in {text!r}")


# The quotes keep the echo of the command from being taken for its output.
os.write(terminal, b"source ./completions; echo re''ady\n")
shown("ready")
for line, expected in zip(sys.argv[1::2], sys.argv[2::2]):
    # Ctrl-U clears the previous line.
    os.write(terminal, b"\x15" + line.encode() + b"\t")
    shown(expected)
