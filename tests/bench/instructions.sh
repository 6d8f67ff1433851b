#!/usr/bin/env bash
# Counts the instructions per event of `ingest`, and fails if they exceed the budget.
#
# usage: tests/bench/instructions.sh
#
# Times vary with the machine and its load; instruction counts do not. The script ingests two generated dumps, one twice
# as large as the other, and divides the difference by the number of additional events, so that the start of the program
# does not count. The budget is the last count plus one seventh; lower it if you make the program faster.
#
# Needs cargo and valgrind (Debian: `apt-get install valgrind`).
set -euo pipefail
budget=40000
cd "$(dirname "$0")/../.."
cargo build --release --quiet
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the instructions of an ingest of $1 generated events.
count() {
    cargo run --quiet --example generate -- --events "$1" >"$scratch/$1.ndjson"
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        target/release/profiles-sync ingest "$scratch/$1.ndjson" --space "$scratch/$1" --quiet --threads 1 2>&1 |
        awk '/Collected/ { print $NF }'
}
few=$(count 5000)
many=$(count 10000)
each=$(((many - few) / 5000))
echo "$each instructions per event; the budget is $budget"
[[ $each -le $budget ]]
