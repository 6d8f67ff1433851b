#!/usr/bin/env bash
# Compares two view folders of a million rows each, alternately with `profiles-sync diff` and with DuckDB.
# Prints the median times, their ratio, and the peak memory of each.
#
# usage: tests/bench/diff.sh [RUNS]
#
# Needs python3 with venv and pip, and GNU time as /usr/bin/time. Installs DuckDB from PyPI in a temporary environment;
# set DUCKDB=WHEEL to install that file instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$*" >&2; }

say "building"
cargo build --release --quiet
cargo build --release --quiet --example generate
profiles_sync=${CARGO_TARGET_DIR:-target}/release/profiles-sync
generate=${CARGO_TARGET_DIR:-target}/release/examples/generate
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check "${DUCKDB:-duckdb}"

# A typical question for `diff`: what would other limits change?
say "building two view folders"
"$generate" --events 1000000 >"$work/events.ndjson"
cat >"$work/tight.toml" <<'RULES'
[identity.types.email]
limit = 1
[identity.types.anonymous_id]
limit = 2
RULES
"$profiles_sync" ingest "$work/events.ndjson" --space "$work/space-old" --quiet
"$profiles_sync" ingest "$work/events.ndjson" --space "$work/space-new" --config "$work/tight.toml" --quiet
for side in old new; do
    "$profiles_sync" materialize --space "$work/space-$side" --out "$work/$side" --quiet
    say "$side: $(cat "$work/$side"/*.ndjson | wc -l) rows"
done
rm -r "$work/events.ndjson" "$work/space-old" "$work/space-new"

# Appends seconds and kilobytes to a file. Ignores the exit code, which is 1 because the sides differ.
measure() {
    local name=$1
    shift
    /usr/bin/time --quiet --append --output "$work/$name.times" --format '%e %M' "$@" >"$work/$name.out" || true
}
median() { cut -d ' ' -f 1 "$work/$1.times" | sort -n | sed -n "$(((runs + 1) / 2))p"; }
most() { cut -d ' ' -f 2 "$work/$1.times" | sort -n | tail -n 1; }

say "measuring, $runs times each"
for _ in $(seq "$runs"); do
    measure profiles-sync "$profiles_sync" diff "$work/old" "$work/new"
    measure duckdb "$work/python/bin/python" tests/bench/diff.py "$work/old" "$work/new"
done

# Both must report the same numbers of rows that are the same, added, removed and changed.
awk '$1 ~ /^(external_id_mapping|id_graph|profile_merges|profile_traits|user_identifiers|user_traits)$/ && NF >= 5 \
    { gsub(",", ""); print $1, $2, $3, $4, $5 }' "$work/profiles-sync.out" | sort >"$work/profiles-sync.rows"
sort "$work/duckdb.out" | diff "$work/profiles-sync.rows" - >&2

for name in profiles-sync duckdb; do
    printf '%-14s median %6s s, at most %4d MB\n' "$name" "$(median "$name")" "$(($(most "$name") / 1024))"
done
awk -v ours="$(median profiles-sync)" -v theirs="$(median duckdb)" \
    'BEGIN { printf "ratio of medians: %.1f\n", theirs / ours }'
