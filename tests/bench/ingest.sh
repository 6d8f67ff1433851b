#!/usr/bin/env bash
# Compares the time of `ingest` into a new space, and of resolving alone (`--dry-run`, which writes no rows), with the
# anchor: a typed pass over the same dump with the fastest parser we know.
#
# usage: tests/bench/ingest.sh EVENTS [ROUNDS]
#
# The dump is in the page cache and the space in memory (/dev/shm), so the disk plays no role. The commands run in turn,
# ROUNDS times (5 by default), with one thread and with two. Prints the medians of CPU time (user plus system) and of
# wall time.
#
# Needs cargo and GNU time (Debian: `apt-get install time`).
set -euo pipefail
events=$(realpath "$1")
rounds=${2:-5}
cd "$(dirname "$0")/../.."
project=$PWD
bench=$project/target/bench
mkdir -p "$bench"
cargo build --release --quiet
cargo build --release --quiet --manifest-path tests/bench/anchor/Cargo.toml --target-dir "$bench/anchor"
program=$project/target/release/profiles-sync
space=$(mktemp -d /dev/shm/profiles-sync-bench.XXXXXX)
trap 'rm -rf "$space"' EXIT
cat "$events" >/dev/null

# Runs a command and prints its CPU seconds, wall seconds and peak kilobytes.
measure() {
    local log=$bench/time.log
    /usr/bin/time -f '%U %S %e %M' -o "$log" "$@" >/dev/null
    awk '{ printf "%.2f %.2f %d\n", $1 + $2, $3, $4 }' "$log"
}
median() { sort -n | awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'; }

for threads in 1 2; do
    : >"$bench/anchor.$threads"
    : >"$bench/ingest.$threads"
    : >"$bench/resolve.$threads"
    for _ in $(seq "$rounds"); do
        measure "$bench/anchor/release/anchor" "$events" "$threads" >>"$bench/anchor.$threads"
        measure "$program" ingest "$events" --space "$space/dry" --quiet --threads "$threads" --dry-run >>"$bench/resolve.$threads"
        # Delete as late as possible: a virtual machine returns idle memory to its host, and getting it back is slow.
        rm -rf "$space/s"
        measure "$program" ingest "$events" --space "$space/s" --quiet --threads "$threads" >>"$bench/ingest.$threads"
    done
    for column in 1 2; do
        name=$([[ $column == 1 ]] && echo cpu || echo wall)
        anchor=$(cut -d' ' -f$column "$bench/anchor.$threads" | median)
        for what in ingest resolve; do
            seconds=$(cut -d' ' -f$column "$bench/$what.$threads" | median)
            ratio=$(awk -v a="$anchor" -v i="$seconds" 'BEGIN { printf "%.2f", i / a }')
            echo "$threads thread(s), $name: anchor $anchor s, $what $seconds s, ratio $ratio"
        done
    done
    echo "$threads thread(s), peak memory: $(cut -d' ' -f3 "$bench/ingest.$threads" | median) kB"
done
