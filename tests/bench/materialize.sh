#!/usr/bin/env bash
# Compares the time of `materialize` with DuckDB SQL that builds the same views from the same raw tables.
#
# usage: tests/bench/materialize.sh [SPACE | EVENTS]
#
# SPACE is a space; EVENTS is a dump to ingest first. Without an argument, a dump of 1,000,000 events is generated.
#
# Both read the raw tables from NDJSON files and write the views to NDJSON files. The whole commands are timed, in turn,
# five times, and the medians count. The files are read once before each round, so that neither waits for the disk.
# The SQL is that of tests/it/duckdb, where the tests check that it gives the same rows; DuckDB may use all cores and as
# much memory as it wants.
#
# In fairness to DuckDB: it spends more than half of its time on reading and writing NDJSON. A warehouse that has loaded
# the raw tables already, and that keeps the views as tables, saves that time and comes closer than these numbers
# suggest. Users with files pay for loading and exporting; users with a warehouse do not pay for it again.
#
# Needs cargo, python3 with venv, and GNU time (Debian: `apt-get install time python3-venv`).
set -euo pipefail
cd "$(dirname "$0")/../.."
project=$PWD
bench=$project/target/bench
rounds=5
duckdb=$(sed -n 's/^const VERSION: &str = "\(.*\)";$/\1/p' tests/it/duckdb.rs)
mkdir -p "$bench"
# The views are written to memory, because `materialize` syncs its files before it finishes and DuckDB does not.
made=$(mktemp -d /dev/shm/profiles-sync-bench.XXXXXX)
trap 'rm -rf "$made"' EXIT

cargo build --release --quiet
program=$project/target/release/profiles-sync

input=${1:-}
if [[ -z $input ]]; then
    input=$bench/events.ndjson
    cargo run --release --quiet --example generate -- --events 1000000 --days 60 --changes 2 >"$input"
fi
if [[ -f $input/manifest.json ]]; then
    space=$(cd "$input" && pwd)
else
    space=$bench/space
    rm -rf "$space"
    "$program" ingest "$input" --space "$space"
fi

environment=$bench/duckdb-$duckdb
if ! "$environment/bin/python" -c 'import duckdb' 2>"$bench/python.log"; then
    python3 -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "duckdb==$duckdb"
fi

# Build the views in full: the program could also update existing ones.
full=()
if "$program" materialize --help | grep -q -- '--full'; then
    full=(--full)
fi

# Runs a command and appends its seconds and peak kilobytes to a file.
timed() {
    local figures=$1
    shift
    /usr/bin/time --output="$figures" --append --format='%e %M' "$@" 2>"$bench/said.log"
}

# Prints the median of a column of a file.
median() { awk -v column="$2" '{ print $column }' "$1" | sort -g | sed -n "$((rounds / 2 + 1))p"; }

compare() {
    local title=$1
    shift
    local views=("$@") queries=() view
    for view in "${views[@]}"; do
        queries+=("$project/tests/it/duckdb/views/$view.sql")
    done
    rm -rf "$made"/{ours,theirs} "$bench"/{ours,theirs}.figures
    for ((round = 0; round < rounds; round++)); do
        cat "$space"/{id_graph,external_id_mapping,profile_traits}_updates.ndjson >/dev/null
        timed "$bench/ours.figures" "$program" materialize --space "$space" --out "$made/ours" \
            --views "$(IFS=,; echo "${views[*]}")" "${full[@]}"
        (
            cd "$space"
            timed "$bench/theirs.figures" "$environment/bin/python" "$project/tests/it/duckdb/run.py" \
                "$made/theirs" --setup "$project/tests/it/duckdb/raw.sql" "${queries[@]}"
        )
    done
    for view in "${views[@]}"; do
        if [[ $(wc -l <"$made/ours/$view.ndjson") != $(wc -l <"$made/theirs/$view.ndjson") ]]; then
            echo "$view: the two have different numbers of rows" >&2
            exit 1
        fi
    done
    awk -v title="$title" \
        -v ours="$(median "$bench/ours.figures" 1)" -v theirs="$(median "$bench/theirs.figures" 1)" \
        -v our_memory="$(median "$bench/ours.figures" 2)" -v their_memory="$(median "$bench/theirs.figures" 2)" '
        BEGIN {
            print title
            printf "  profiles-sync  %6.2f s  %6.0f MB\n", ours, our_memory / 1024
            printf "  DuckDB         %6.2f s  %6.0f MB\n", theirs, their_memory / 1024
            printf "  %.1f times as fast, with %.2f of the memory\n", theirs / ours, our_memory / their_memory
        }'
}

echo "DuckDB $duckdb, $(nproc) cores, raw tables of $(cat "$space"/*_updates.ndjson | wc -c | awk '{ printf "%.0f", $1 / 1e6 }') MB, medians of $rounds"
compare "six views" id_graph external_id_mapping profile_traits user_traits user_identifiers profile_merges
compare "id_graph, external_id_mapping, profile_traits" id_graph external_id_mapping profile_traits
