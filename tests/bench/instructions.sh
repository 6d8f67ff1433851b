#!/usr/bin/env bash
# Counts the instructions that `ingest` takes for an event, and fails where they are more than the budget.
#
# usage: tests/bench/instructions.sh
#
# Seconds vary with the machine and the hour; instructions do not. Two made-up dumps are ingested, one twice the other: what
# the second takes more, by event, leaves the start of the program out. The budget is what was counted last with a seventh on
# top; whoever makes the program quicker lowers it.
#
# Needs cargo and valgrind (Debian: `apt-get install valgrind`).
set -euo pipefail
budget=40000
cd "$(dirname "$0")/../.."
cargo build --release --quiet
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the instructions of an ingest of so many made-up events.
count() {
    cargo run --quiet --example generate -- --events "$1" >"$scratch/$1.ndjson"
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        target/release/profiles-sync ingest "$scratch/$1.ndjson" --space "$scratch/$1" --quiet --threads 1 2>&1 |
        awk '/Collected/ { print $NF }'
}
few=$(count 5000)
many=$(count 10000)
each=$(((many - few) / 5000))
echo "$each instructions an event; the budget is $budget"
[[ $each -le $budget ]]
