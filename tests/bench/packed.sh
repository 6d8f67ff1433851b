#!/usr/bin/env bash
# Times `ingest` and `materialize` with plain and with compressed tables, on a disk that writes 300 MB/s.
#
# usage: sudo tests/bench/packed.sh EVENTS [ROUNDS]
#
# The disk is a file in memory (/dev/shm) with its own file system and loop device; the kernel limits writes to it to
# 300 MB/s (blkio throttling). A run is timed until its commit is complete and everything is on the disk. The views are
# folded in full, without older views, from tables in the page cache.
#
# Needs root, cgroup v1 blkio or an io controller at the root, GNU time, and cargo or a built program given as PROGRAM.
set -euo pipefail
events=$(realpath "$1")
rounds=${2:-3}
cd "$(dirname "$0")/../.."
rate=$((300 * 1000 * 1000))
if [[ -z ${PROGRAM:-} ]]; then
    cargo build --release --quiet
    PROGRAM=$PWD/target/release/profiles-sync
fi
image=$(mktemp /dev/shm/profiles-sync-bench.XXXXXX)
disk=$(mktemp -d)
log=$(mktemp)
truncate -s "$((4 << 30))" "$image"
loop=$(losetup --show -f "$image")
throttle=/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device
device=$(cat "/sys/block/$(basename "$loop")/dev")
clean() {
    echo "$device 0" >"$throttle" || true
    umount "$disk" || true
    losetup -d "$loop"
    rm -rf "$image" "$disk" "$log"
}
trap clean EXIT
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$loop"
mount "$loop" "$disk"
echo "$device $rate" >"$throttle"
cat "$events" >/dev/null
dd if=/dev/zero of="$disk/x" bs=1M count=512 conv=fsync 2>&1 | tail -n 1
rm "$disk/x"

# Runs a command and prints its wall and CPU seconds and peak kilobytes.
measure() {
    local what=$1
    shift
    /usr/bin/time -f '%e s, %U + %S s of CPU, %M kB' -o "$log" "$@"
    echo "$what: $(cat "$log")"
}
for _ in $(seq "$rounds"); do
    for compress in none zstd; do
        rm -rf "$disk/s"
        fstrim "$disk"
        measure "ingest, $compress" "$PROGRAM" ingest "$events" --space "$disk/s" --quiet --compress "$compress"
        echo "tables, $compress: $(cat "$disk"/s/*.ndjson* | wc -c) bytes"
        cat "$disk"/s/*_updates.ndjson* >/dev/null
        measure "materialize, $compress" "$PROGRAM" materialize --space "$disk/s" --quiet --full
    done
done
