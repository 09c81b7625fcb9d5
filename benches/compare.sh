#!/usr/bin/env bash
# Measures dumpvault against restic, zstd and zstd + age on the same dump series, as whole processes.
#
#   benches/compare.sh SIZE_MB [DAYS]
#
# The series is the sample order database: day 0 of SIZE_MB, then DAYS days (default 3) of the default churn.
# Environment:
#   ROUNDS   how often everything is repeated from an empty repository (default 3)
#   TOOLS    which contestants, in words (default: dumpvault restic-v2 restic-v1 zstd zstd-age); there is zstd-patch, too:
#            zstd --patch-from the dump before, the bound that needs both whole dumps on disk
#   SERIES   `orders` (the default), or `pgbench`: a real database of filled pgbench tables, 1 % of the accounts updated a day
#   SCRATCH  where the series and the repositories go; must be a disk with room for about DAYS + 8 dumps
#            (default: a new directory in TMPDIR or /var/tmp, removed at the end)
#   RESULT   where the Markdown table goes too (default: target/compare-SIZE_MB.md)
#
# Exit status: 0 only if every command succeeded and every restored dump was identical to the original.
set -euo pipefail

size_mb=${1:?usage: benches/compare.sh SIZE_MB [DAYS]}
days=${2:-3}
rounds=${ROUNDS:-3}
tools=${TOOLS:-dumpvault restic-v2 restic-v1 zstd zstd-age}
cd "$(dirname "$0")/.."

install_missing() {
    local missing=()
    local program
    for program in restic age zstd python3; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ -x /usr/bin/time ] || missing+=(time)
    [ ${#missing[@]} -eq 0 ] && return
    echo "Installing ${missing[*]}" >&2
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -q >&2
    "${as_root[@]}" apt-get install -y -q "${missing[@]}" >&2
}

install_missing
cargo build --quiet --profile dist --bin dumpvault --example orderdb
built=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

if [ -n "${SCRATCH:-}" ]; then
    mkdir -p "$SCRATCH"
    scratch=$(mktemp -d "$SCRATCH/compare.XXXXXX")
else
    scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/dumpvault-compare.XXXXXX")
fi
trap 'rm -rf -- "$scratch"' EXIT

case "${SERIES:-orders}" in
    orders)
        series="sample order database"
        for ((day = 0; day <= days; day++)); do
            "$built/dist/examples/orderdb" --mb "$size_mb" --day "$day" >"$scratch/day-$day.dump"
        done
        ;;
    pgbench)
        series="pgbench with filled rows, 1 % of the accounts updated a day"
        benches/pgbench_series.sh "$size_mb" "$days" "$scratch"
        ;;
    *)
        echo "SERIES is orders or pgbench" >&2
        exit 2
        ;;
esac

python3 benches/compare.py --scratch "$scratch" --days "$days" --rounds "$rounds" --tools "$tools" --series "$series" \
    --dumpvault "$built/dist/dumpvault" --result "${RESULT:-$built/compare-$size_mb.md}"
