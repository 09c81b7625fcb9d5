#!/bin/sh
# Files: the first backup of many small ones, the next one without changes, one with 0.6 % changed, and the restore of one file.
#
#   cargo build --release; benches/files.sh target/release/dumpvault [FILES, 1000000 by default] [DIRECTORY for all of it]
#
# Where restic is installed, it does the same steps in turn. Prints seconds, CPU seconds, the largest resident memory in
# KiB, and what the repository grew by. GNU time has to be installed. SOURCES=DIRECTORY also backs up that directory with
# both, three times from an empty repository.
set -eu
dumpvault=$(realpath "$1")
count=${2:-1000000}
place=$(mktemp -d "${3:-/tmp}/dv-bench-files-XXXXXX")
trap 'rm -rf "$place"' EXIT
export HOME="$place" XDG_CACHE_HOME="$place/cache" XDG_STATE_HOME="$place/state"
export DUMPVAULT_REPOSITORY="$place/repo" DUMPVAULT_KEY_FILE="$place/key"

python3 - "$place/tree" "$count" <<'PYTHON'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for start in range(0, count, 200):
    folder = f"{root}/{start // 40000:03d}/{start // 200:05d}"
    os.makedirs(folder)
    for at in range(start, min(start + 200, count)):
        with open(f"{folder}/file-{at:07d}.txt", "wb") as file:
            file.write(f"{at}\n".encode() * 20)
PYTHON

# NAME REPOSITORY COMMAND…
step() {
    name=$1 repository=$2; shift 2
    before=$(du -sb "$repository" | cut -f1)
    /usr/bin/time -f "%e s, %U + %S CPU s, %M KiB" -o "$place/time" "$@" > "$place/out"
    echo "$name: $(cat "$place/time"), $(($(du -sb "$repository" | cut -f1) - before)) bytes added"
}

export RESTIC_REPOSITORY="$place/restic" RESTIC_PASSWORD=bench
has_restic=$(command -v restic || true)
# NAME PATH SERIES: both tools in turn.
both() {
    step "$1, dumpvault" "$place/repo" "$dumpvault" backup --path "$2" --series "$3"
    [ -z "$has_restic" ] || step "$1, restic" "$place/restic" restic backup --quiet "$2"
}

"$dumpvault" init --key-file "$place/key" > /dev/null
[ -z "$has_restic" ] || restic init --quiet > /dev/null
sleep 3 # what was changed within two seconds is read again
both "first" "$place/tree" files
sleep 3
both "unchanged" "$place/tree" files
"$dumpvault" show files | grep -E '^(unchanged|rows|copied) '
find "$place/tree" -name '*[05]00.txt' -exec sh -c 'for f do echo changed > "$f"; done' sh {} +
find "$place/tree" -name '*7[123].txt' -name '*00*' -delete
sleep 3
both "some changed" "$place/tree" files
step "one file" "$place/repo" "$dumpvault" restore files --to-dir "$place/into" --path "$place/tree/000/00000/file-0000123.txt"
step "all files" "$place/repo" "$dumpvault" restore files --to-dir "$place/all"

[ -n "${SOURCES:-}" ] || exit 0
for round in 1 2 3; do
    rm -rf "$place/repo" "$place/restic" "$place/cache"
    "$dumpvault" init --key-file "$place/key" > /dev/null
    [ -z "$has_restic" ] || restic init --quiet > /dev/null
    both "sources, round $round" "$SOURCES" sources
done
