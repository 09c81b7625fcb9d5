#!/usr/bin/env bash
# Measures restores into PostgreSQL against pg_restore, and what looking into a dump costs its backup. Whole processes, in turn.
#
#   benches/postgres.sh SIZE_MB [ROUNDS]
#
# The dump is the sample order database (15 tables). Starts a private PostgreSQL server and removes it. Environment:
#   SCRATCH  a directory on a disk with room for eight dumps (default: a new one in TMPDIR or /var/tmp, removed at the end)
#
# Prints medians in seconds, and their ratios. Exit status: 0 only if every command succeeded and every table has its rows.
set -euo pipefail

size_mb=${1:?usage: benches/postgres.sh SIZE_MB [ROUNDS]}
rounds=${2:-3}
cd "$(dirname "$0")/.."
cargo build --quiet --profile dist --bin dumpvault --example orderdb
dumpvault=$PWD/target/dist/dumpvault
orderdb=$PWD/target/dist/examples/orderdb
. benches/postgres_server.sh

work=$(mktemp -d "${SCRATCH:-${TMPDIR:-/var/tmp}}/postgres.XXXXXX")
start_server "$work"
trap 'stop_server; rm -rf -- "$work"' EXIT
export PATH=$bin:$PATH
export XDG_CACHE_HOME=$work/cache DUMPVAULT_REPOSITORY=$work/repo DUMPVAULT_PASSWORD=only-for-this-measurement

"$orderdb" --mb "$size_mb" >"$work/dump" 2>/dev/null
"$dumpvault" -q init
"$dumpvault" -q backup --stdin --series shop <"$work/dump"
# The table nearest to 1 % of the dump, among those that stand by themselves.
read -r table share < <("$dumpvault" ls shop --json | python3 -c '
import json, sys
tables = json.load(sys.stdin)["tables"]
total = sum(table["bytes"] for table in tables)
best = min(tables, key=lambda table: abs(table["bytes"] / total - 0.01))
print(best["schema"] + "." + best["name"], round(100 * best["bytes"] / total, 2))')

fresh() { "$bin/dropdb" --if-exists "$1" && "$bin/createdb" -T template0 "$1"; }
# Runs the command behind the name, and notes how long it took.
timed() {
    local name=$1 began ended
    shift
    sync
    began=$(date +%s.%N)
    "$@" >/dev/null 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
    ended=$(date +%s.%N)
    echo "$ended - $began" | bc >>"$work/$name.times"
}
pg_restore_whole() { pg_restore -j 2 -d bench_a --no-owner "$work/dump"; }
restore_whole() { "$dumpvault" -q restore shop --to-database bench_b --jobs 2 --no-owner --yes "$@"; }
restore_table() { "$dumpvault" -q restore shop --to-database bench_c --jobs 2 --table "$table" --no-owner --yes; }
# Bytes that no parser knows, as long and as compressible as the dump.
backup() {
    rm -rf "$work/other"
    "$dumpvault" -q -r "$work/other" init
    "$dumpvault" -q -r "$work/other" backup --stdin --series "$1" --no-parent <"$2"
}
sed '1s/^PGDMP/pgdmp/' "$work/dump" >"$work/opaque"

for ((round = 1; round <= rounds; round++)); do
    fresh bench_a && timed pg_restore pg_restore_whole
    fresh bench_b && timed whole restore_whole
    fresh bench_b && timed verified restore_whole --verify
    fresh bench_c && timed table restore_table
    timed parsed backup shop "$work/dump"
    timed opaque backup shop "$work/opaque"
done

rows() { psql -XAtq -d "$1" -c "SELECT count(*) FROM $2"; }
for name in $("$bin/psql" -XAtq -d bench_a -c "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"); do
    [ "$(rows bench_a "$name")" = "$(rows bench_b "$name")" ] || { echo "$name differs" >&2; exit 1; }
done
[ "$(rows bench_a "$table")" = "$(rows bench_c "$table")" ] || { echo "$table differs" >&2; exit 1; }

median() { sort -n "$work/$1.times" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
ratio() { echo "scale=3; $(median "$1") / $(median "$2")" | bc; }
printf '%-52s %8.2f\n' "pg_restore -j 2 from a file" "$(median pg_restore)"
printf '%-52s %8.2f  %s of pg_restore\n' "restore --jobs 2" "$(median whole)" "$(ratio whole pg_restore)"
printf '%-52s %8.2f  %s of pg_restore\n' "restore --jobs 2 --verify" "$(median verified)" "$(ratio verified pg_restore)"
printf '%-52s %8.2f  %s of the whole\n' "restore of $table ($share %)" "$(median table)" "$(ratio table whole)"
printf '%-52s %8.2f\n' "first backup, opaque bytes" "$(median opaque)"
printf '%-52s %8.2f  %s of opaque bytes\n' "first backup, looked into" "$(median parsed)" "$(ratio parsed opaque)"
