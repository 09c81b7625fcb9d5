#!/usr/bin/env bash
# Measures backups of a Redis server beside `redis-cli --rdb`, and restores beside a server that loads the same file.
#
#   benches/redis.sh [KEYS] [ROUNDS]
#
# KEYS is 600,000 by default, a file of some 70 MB; ROUNDS is 5. Everything is done in turn, each backup into an empty
# repository. Environment:
#   DUMPVAULT  the program (default: target/release/dumpvault)
#   SCRATCH    where everything goes (default: a new directory in TMPDIR or /var/tmp, removed at the end)
#   REDIS      the server's program, under any name (default: target/test-redis/redis70/server)
#
# Prints a Markdown table of medians. Exit status: 0 only if every key came back.
set -euo pipefail

keys=${1:-600000} rounds=${2:-5}
cd "$(dirname "$0")/.."
dumpvault=${DUMPVAULT:-$PWD/target/release/dumpvault}
redis=$(readlink -f "${REDIS:-target/test-redis/redis70/server}")
scratch=${SCRATCH:-$(mktemp -d -p "${TMPDIR:-/var/tmp}" dumpvault-redis-XXXXXX)}
export HOME=$scratch XDG_CACHE_HOME=$scratch/cache XDG_STATE_HOME=$scratch/state
export DUMPVAULT_REPOSITORY=$scratch/vault DUMPVAULT_KEY_FILE=$scratch/key
trap 'for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done; wait; [ -n "${SCRATCH:-}" ] || rm -rf "$scratch"' EXIT

# NAME: starts a server with the file of its folder, waits until it has loaded it.
serve() {
    mkdir -p "$scratch/$1"
    (cd "$scratch/$1" && exec -a redis-server "$redis" --port 0 --unixsocket "$scratch/$1/socket" --save '' --repl-diskless-sync-delay 0 --daemonize no \
        --logfile "$scratch/$1/log" --dir "$scratch/$1") &
    until [ "$(ask "$1" PING 2>/dev/null)" = PONG ]; do sleep 0.01; done
}
ask() { redis-cli -s "$scratch/$1/socket" "${@:2}"; }
stop() { ask "$1" SHUTDOWN NOSAVE 2>/dev/null || true; until ! ask "$1" PING >/dev/null 2>&1; do sleep 0.01; done; }
# FIGURES COMMAND…: appends the seconds and the KiB that a command takes.
timed() { /usr/bin/time -a -o "$scratch/$1" -f '%e %M' "${@:2}" >/dev/null 2>"$scratch/err" || { cat "$scratch/err" >&2; exit 1; }; }
since() { python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.3f} 0")' "$1"; }

serve full
python3 - "$keys" <<'PYTHON' | redis-cli -s "$scratch/full/socket" --pipe >/dev/null
import hashlib, sys
out = sys.stdout.buffer
for at in range(int(sys.argv[1])):
    key, value = f"session:{at:09d}".encode(), hashlib.sha256(str(at).encode()).hexdigest()[:56 + at % 9].encode() + b":" + str(at).encode() * 4
    out.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value))
PYTHON
ask full SAVE >/dev/null
bytes=$(stat -c %s "$scratch/full/dump.rdb")
for ((round = 0; round < rounds; round++)); do
    rm -rf "$DUMPVAULT_REPOSITORY" "$scratch/key" "$scratch/cache" "$scratch/state"
    "$dumpvault" init --key-file "$scratch/key" >/dev/null 2>&1
    timed cli redis-cli -s "$scratch/full/socket" --rdb "$scratch/file.rdb"
    timed backup "$dumpvault" backup "unix://$scratch/full/socket" --series queue
    timed again "$dumpvault" backup "unix://$scratch/full/socket" --series queue
    mkdir -p "$scratch/loaded" && cp "$scratch/full/dump.rdb" "$scratch/loaded/"
    began=$(date +%s.%N) && serve loaded && since "$began" >>"$scratch/load"
    stop loaded
    began=$(date +%s.%N) && serve empty && since "$began" >>"$scratch/start"
    timed restore "$dumpvault" restore queue --to-redis "unix://$scratch/empty/socket" --yes
    [ "$(ask empty DBSIZE)" = "$keys" ] || { echo "not all keys came back" >&2; exit 1; }
    stop empty
    rm -f "$scratch/empty/dump.rdb"
done
python3 - "$scratch" "$keys" "$bytes" "$rounds" <<'PYTHON'
import statistics, sys
folder, keys, size, rounds = sys.argv[1], *map(int, sys.argv[2:])
def column(name, at=0): return [float(line.split()[at]) for line in open(f"{folder}/{name}")]
median = {name: statistics.median(column(name)) for name in ("cli", "backup", "again", "load", "start", "restore")}
peak = {name: max(column(name, 1)) / 1024 for name in ("backup", "again", "restore")}
ratio = lambda one, other: statistics.median(a / b for a, b in zip(column(one), column(other)))
print(f"{keys} keys, a file of {size / 1e6:.1f} MB, {rounds} rounds in turn\n")
print("| | seconds | ratio | peak MiB |\n|---|---:|---:|---:|")
print(f"| `redis-cli --rdb` | {median['cli']:.2f} | 1.00 | |")
print(f"| first backup | {median['backup']:.2f} | {ratio('backup', 'cli'):.2f} | {peak['backup']:.0f} |")
print(f"| next backup | {median['again']:.2f} | {ratio('again', 'cli'):.2f} | {peak['again']:.0f} |")
print(f"| a server loads the file | {median['load']:.2f} | 1.00 | |")
print(f"| restore into an empty server | {median['restore']:.2f} | {ratio('restore', 'load'):.2f} | {peak['restore']:.0f} |")
PYTHON
