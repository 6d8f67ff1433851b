#!/usr/bin/env bash
# Times `ingest` into a new space, and resolving alone (`--dry-run`: no rows), against the anchor: a typed pass over the
# same dump with the fastest parser at hand.
#
# usage: tests/bench/ingest.sh EVENTS [ROUNDS]
#
# Both read the dump from the page cache; the space is in memory (/dev/shm), so that the disk has no part in it. In turn,
# so many rounds; the medians of user and system seconds together and of wall seconds count, on one thread and on two.
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

# Prints CPU seconds, wall seconds and peak kilobytes of a command.
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
        # Not earlier: a virtual machine gives memory that lies free for a while back to its host, and gets it page by page.
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
