#!/usr/bin/env bash
# Measures how long a whole system takes to come back: a PostgreSQL database, a Redis server and files, backed up by `dumpvault run`
# and restored into servers that are empty, by `dumpvault restore --set`.
#
#   benches/system.sh [PGBENCH_SCALE] [REDIS_KEYS] [FILES]
#
# Environment:
#   DUMPVAULT  the program (default: target/release/dumpvault)
#   SCRATCH    where everything goes (default: a new directory in TMPDIR or /var/tmp, removed at the end)
#   REDIS      the Redis server's program, under any name (default: target/test-redis/redis70/server)
#   PG_BIN     the folder of PostgreSQL's programs (default: Debian's newest)
#
# Prints a Markdown table. Exit status: 0 only if everything came back: rows, keys and files are counted.
set -euo pipefail

scale=${1:-20} keys=${2:-300000} files=${3:-5000}
cd "$(dirname "$0")/.."
dumpvault=${DUMPVAULT:-$PWD/target/release/dumpvault}
redis=$(readlink -f "${REDIS:-target/test-redis/redis70/server}")
pg_bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | tail -1)}
scratch=${SCRATCH:-$(mktemp -d -p "${TMPDIR:-/var/tmp}" dumpvault-system-XXXXXX)}
chmod 755 "$scratch"
export HOME=$scratch DUMPVAULT_REPOSITORY=$scratch/vault DUMPVAULT_KEY_FILE=$scratch/key
export XDG_CACHE_HOME=$scratch/cache XDG_STATE_HOME=$scratch/state PATH=$pg_bin:$PATH
as_postgres=()
[ "$(id -u)" -ne 0 ] || as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
servers=()
trap 'for pid in "${servers[@]}"; do kill -INT "$pid" 2>/dev/null || true; done; wait; [ -n "${SCRATCH:-}" ] || rm -rf "$scratch"' EXIT

# NAME PORT: starts an empty server of each kind.
start() {
    mkdir -p "$scratch/$1/redis" "$scratch/$1/pg"
    [ "$(id -u)" -ne 0 ] || chown postgres "$scratch/$1/pg"
    "${as_postgres[@]}" initdb -U postgres -A trust -D "$scratch/$1/pg/data" >/dev/null
    "${as_postgres[@]}" postgres -D "$scratch/$1/pg/data" -k "$scratch/$1/pg" -p "$2" -c max_wal_size=4GB 2>"$scratch/$1/log" &
    servers+=($!)
    ln -s "$redis" "$scratch/$1/redis-server"
    "$scratch/$1/redis-server" --port "$(($2 + 1))" --dir "$scratch/$1/redis" --save '' >/dev/null &
    servers+=($!)
    until pg_isready -q -h 127.0.0.1 -p "$2"; do sleep 0.1; done
    until [ "$(redis-cli -p "$(($2 + 1))" ping 2>/dev/null)" = PONG ]; do sleep 0.1; done
}

# PORT FOLDER
configure() {
    cat >"$scratch/dumpvault.toml" <<TOML
[system.shop]
sources = ["queue", "db", "uploads"]
[source.queue]
uri = "redis://127.0.0.1:$(($1 + 1))"
[source.db]
uri = "postgres://postgres@127.0.0.1:$1/shop"
[source.uploads]
paths = ["$scratch/uploads"]
TOML
}

seconds() {
    local began
    began=$(date +%s.%N)
    "$@" >&2
    echo "$(date +%s.%N) - $began" | bc
}

echo "filling" >&2
start old 54310
createdb -h 127.0.0.1 -p 54310 -U postgres shop
pgbench -h 127.0.0.1 -p 54310 -U postgres -i -q -s "$scale" shop 2>/dev/null
awk -v keys="$keys" 'BEGIN { for (i = 0; i < keys; i++) printf "SET session:%d %064d\r\n", i, i * 7919 }' | redis-cli -p 54311 --pipe >/dev/null
mkdir "$scratch/uploads"
python3 - "$scratch/uploads" "$files" <<'PYTHON'
import random, sys
random.seed(1)
for at in range(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/{at}", "wb") as out:
        out.write(random.randbytes(50_000))
PYTHON
cd "$scratch"
configure 54310
"$dumpvault" init --key-file "$scratch/key" >&2
first=$(seconds "$dumpvault" run --quiet)
second=$(seconds "$dumpvault" run --quiet)
size=$(psql -X -A -t -h 127.0.0.1 -p 54310 -U postgres -c "SELECT pg_database_size('shop') / 1000000" shop)
stored=$(du -sm "$scratch/vault" | cut -f1)

start new 54320
configure 54320
mv "$scratch/uploads" "$scratch/uploads.old"
rm -rf "$scratch/cache" "$scratch/state"
whole=$(seconds "$dumpvault" restore --set shop --apply --yes)
verify=$(seconds "$dumpvault" verify shop --server postgres://postgres@127.0.0.1:54320/postgres)

diff -r "$scratch/uploads" "$scratch/uploads.old"
[ "$(redis-cli -p 54321 dbsize)" = "$keys" ]
[ "$(psql -X -A -t -h 127.0.0.1 -p 54320 -U postgres -c 'SELECT count(*) FROM pgbench_accounts' shop)" = $((scale * 100000)) ]

printf '| what | seconds |\n|---|---:|\n'
printf '| first `run`: database of %s MB, %s keys, %s files of 50 KB | %.0f |\n' "$size" "$keys" "$files" "$first"
printf '| next `run`, nothing changed; %s MB stored in all | %.0f |\n' "$stored" "$second"
printf '| `restore --set shop --apply`, servers empty, no local index | %.0f |\n' "$whole"
printf '| `verify shop` | %.0f |\n' "$verify"
