#!/usr/bin/env bash
# Takes real databases there and back: pg_dump -> dumpvault -> pg_restore, and both sides must be the same.
#
#   tests/real_data.sh DIR [DUMPVAULT]
#
# For each DIR/*.sql.zst, a plain dump: load it into a private PostgreSQL server, back the database up, restore it into a new
# database, compare plain dumps of both, back up again (next to nothing may be added), check the repository.
# DUMPVAULT is the program to test; without it a release build is made.
#
# The server is made for this run, listens on a Unix socket only and is gone at the end; the machine's own is not touched.
# Exit status: 0 only if at least one database was tested and all came back the same.
set -euo pipefail

dir=$(realpath -- "${1:?usage: tests/real_data.sh DIR [DUMPVAULT]}")
program=${2:+$(realpath -- "$2")}
cd "$(dirname "$0")/.."

tests/run.sh --prepare
if [ -z "$program" ]; then
    cargo build --quiet --release --locked
    target=$(cargo metadata --locked --format-version 1 --no-deps |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    program=$target/release/dumpvault
fi

fail() { printf 'FAILED: %s\n' "$*" >&2 && exit 1; }

shopt -s nullglob
dumps=("$dir"/*.sql.zst)
[ ${#dumps[@]} -gt 0 ] || fail "no *.sql.zst in $dir"

# --- a server of our own

bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
# Not in TMPDIR, which may be closed to the server's account, and whose path may be too long for a socket.
scratch=$(mktemp -d /tmp/dv-real.XXXXXX)
chmod 755 "$scratch"
mkdir "$scratch/server"

# PostgreSQL does not run as root.
as_server() { "$@"; }
if [ "$(id -u)" -eq 0 ]; then
    account=postgres
    getent passwd postgres >/dev/null || account=nobody
    chown "$account" "$scratch/server"
    as_server() { setpriv --reuid "$account" --regid "$(id -g "$account")" --clear-groups "$@"; }
fi

clean_up() {
    if [ -e "$scratch/server/data/postmaster.pid" ]; then
        as_server "$bin/pg_ctl" -D "$scratch/server/data" -m immediate -w stop >/dev/null || true
    fi
    rm -rf -- "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Nothing of the caller's may lead to another server or another repository.
while IFS='=' read -r name _; do
    case $name in DUMPVAULT_* | PG*) unset "$name" ;; esac
done < <(env)
export LC_ALL=C TZ=UTC
export PATH=$bin:$PATH PGHOST=$scratch/server PGPORT=5432 PGUSER=postgres
export XDG_CACHE_HOME=$scratch/cache XDG_STATE_HOME=$scratch/state XDG_CONFIG_HOME=$scratch/config
export DUMPVAULT_REPOSITORY=$scratch/repository DUMPVAULT_PASSWORD='correct horse battery staple'

(
    cd "$scratch/server"
    as_server "$bin/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync >initdb.log ||
        { cat initdb.log && exit 1; }
    # No TCP, so that no port has to be free: the socket's directory is ours.
    as_server "$bin/pg_ctl" -D data -l server.log -w -o "-p $PGPORT -k $PGHOST -c listen_addresses= -c fsync=off" start \
        >/dev/null || { cat server.log && exit 1; }
) || fail "the private PostgreSQL did not start"

# --- what is done with each database

chunk_bytes_max=$((256 * 1024))

# pg_dump guards its scripts with a random token; nothing else differs between two dumps of equal databases.
dump_plain() { pg_dump "$1" | sed -E 's/^(\\(un)?restrict) .*/\1 TOKEN/'; }

newest() {
    "$program" snapshots --series "$1" --json | python3 -c '
import json, sys
newest = json.load(sys.stdin)["snapshots"][-1]
print(newest["bytes"], newest["bytes_stored"], sum(stream["bytes_new"] for stream in newest["streams"]))'
}

back_up() { "$program" backup --quiet --series "$1" --command -- pg_dump -Fc -Z0 "$1"; }

check_one() {
    local dump=$1 name bytes stored again new
    name=$(basename "$dump" .sql.zst)
    createdb "$name"
    zstd -q -dc "$dump" | psql -X -q -v ON_ERROR_STOP=1 -d "$name" >/dev/null

    back_up "$name"
    read -r bytes stored _ <<<"$(newest "$name")"
    "$program" restore --quiet "$name" --to-database "${name}_restored" --create --yes
    dump_plain "$name" >"$scratch/$name.before"
    dump_plain "${name}_restored" >"$scratch/$name.after"
    [ "$(wc -l <"$scratch/$name.before")" -gt 100 ] || fail "$name: the plain dump is too short to prove anything"
    cmp "$scratch/$name.before" "$scratch/$name.after" || {
        diff "$scratch/$name.before" "$scratch/$name.after" | head -n 20
        fail "$name: the restored database differs"
    }

    back_up "$name"
    read -r _ again new <<<"$(newest "$name")"
    # An archive begins with the time of its making, so that its first chunk is always new: small databases are allowed one.
    [ $((again * 100)) -lt "$bytes" ] || [ "$new" -le "$chunk_bytes_max" ] ||
        fail "$name: backing up the unchanged database stored $again bytes ($new plain) of $bytes"
    printf '%-10s dump %9d bytes, stored %8d, again %6d; restored database is the same\n' \
        "$name" "$bytes" "$stored" "$again"
}

"$program" init --quiet
for dump in "${dumps[@]}"; do
    check_one "$dump"
done
"$program" check --quiet --read-data || fail "check --read-data ended with $?"
echo "real databases there and back, repository checked:"
printf '%d passed, 0 failed\n' "${#dumps[@]}"
