#!/usr/bin/env bash
# Dumps a pgbench database day by day: 1 % of the accounts, scattered, get new contents between two days.
#
#   benches/pgbench_series.sh SIZE_MB DAYS DIRECTORY
#
# Starts a private PostgreSQL server in DIRECTORY and removes it. Writes DIRECTORY/day-0.dump to day-DAYS.dump, as pg_dump -Fc -Z0.
set -euo pipefail

size_mb=${1:?usage: benches/pgbench_series.sh SIZE_MB DAYS DIRECTORY}
days=$2
directory=$(realpath "$3")
. "$(dirname "$0")/postgres_server.sh"
start_server "$directory"
export PGDATABASE=bench
run() { as_owner env PGHOST="$PGHOST" PGUSER="$PGUSER" PGDATABASE="${database:-bench}" "$@"; }
database=postgres run "$bin/createdb" bench
# 100,000 accounts of some 100 bytes for each unit of scale.
run "$bin/pgbench" -q -i -s "$((size_mb / 10 > 0 ? size_mb / 10 : 1))" >/dev/null 2>&1
fill="left(md5(aid::text || random()::text) || md5(random()::text) || md5(random()::text), 84)"
run "$bin/psql" -q -c "UPDATE pgbench_accounts SET filler = $fill" -c "VACUUM FULL pgbench_accounts"
for ((day = 0; day <= days; day++)); do
    run "$bin/pg_dump" -Fc -Z0 >"$directory/day-$day.dump"
    run "$bin/psql" -q -o /dev/null -c "SELECT setseed(0.$((day + 1)))" \
        -c "UPDATE pgbench_accounts SET abalance = abalance + 1, filler = $fill WHERE random() < 0.01"
done
