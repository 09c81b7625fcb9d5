#!/usr/bin/env bash
# Two versions of the program on one repository, in turns: what either stores, both restore, check and prune.
#
#   tests/mixed_versions.sh OLD [NEW]
#
#   OLD   a program of an earlier version
#   NEW   a program of this one [default: target/debug/dumpvault]
#
# An older version may refuse what it does not know: it then has to name it, change nothing, and leave all as it was.
# Such a pair needs a line of its own in docs/trust.md. Each program has caches and state of its own, as on two hosts,
# and once the same ones, as after an upgrade and a downgrade.
set -euo pipefail
cd "$(dirname "$0")/.."

old=$(realpath "$1")
new=$(realpath "${2:-target/debug/dumpvault}")
place=$(mktemp -d)
trap 'rm -rf -- "$place"' EXIT
die() { printf 'tests/mixed_versions.sh: %s\n' "$*" >&2 && exit 1; }

program() { # STATE PROGRAM ARGUMENTS
    local state=$place/$1 program=$2
    shift 2
    env -i PATH=/usr/bin:/bin HOME="$state" DUMPVAULT_REPOSITORY="$place/vault" DUMPVAULT_KEY_FILE="$place/key" \
        "$program" --quiet "$@"
}

# A table whose rows change a little from day to day.
rows() { # DAY
    python3 - "$1" <<'PYTHON'
import hashlib, sys
day = int(sys.argv[1])
print("--\n-- PostgreSQL database dump\n--\n\nCOPY public.orders (id, what, customer) FROM stdin;")
for row in range(20_000 + 50 * day):
    version = day if row % 97 == 0 else 0
    print(f"{row}\torder {hashlib.sha256(f'{row} {version}'.encode()).hexdigest()[:24]}\t{row % 211}")
print("\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n")
PYTHON
}

printf 'old: %s\nnew: %s\n' "$("$old" --version)" "$("$new" --version)"
for made_by in old new; do
    for shares in apart together; do
        rm -rf -- "${place:?}"/*
        mkdir "$place/of-old" "$place/of-new" "$place/tree"
        state() { [ "$shares" = apart ] && printf 'of-%s' "$1" || printf 'of-old'; }
        run() { # old|new ARGUMENTS
            local who=$1
            shift
            program "$(state "$who")" "${!who}" "$@"
        }
        run "$made_by" init
        for day in 1 2 3 4; do
            [ $((day % 2)) -eq 1 ] && who=old || who=new
            rows "$day" >"$place/day-$day"
            run "$who" backup --stdin --series shop <"$place/day-$day"
            date -u -d "2026-11-0$day" >"$place/tree/file-$day"
            run "$who" backup --series tree --path "$place/tree"
        done
        both() { # DAYS
            for who in old new; do
                for back in $(seq 0 $(($1 - 1))); do
                    run "$who" cat "shop~$back" | cmp - "$place/day-$((4 - back))" ||
                        die "$who does not restore day $((4 - back)) ($made_by, $shares)"
                done
                run "$who" cat "tree:$place/tree/file-3" | cmp - "$place/tree/file-3"
                run "$who" check --read-data
            done
        }
        both 4
        run old forget --series shop --keep-last 3 --force
        run new prune --grace 0
        both 3
        run new forget --series shop --keep-last 2 --force
        run old prune --grace 0
        both 2
        printf 'made by %s, caches %s: all days restored by both, before and after either prunes\n' "$made_by" "$shares"
    done
done
