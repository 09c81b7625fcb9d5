#!/bin/sh
# Files: the first backup of many small ones, the next one without changes, one with 0.6 % changed, and the restore of one file.
#
#   cargo build --release; benches/files.sh target/release/dumpvault [FILES, 1000000 by default] [DIRECTORY for all of it]
#
# Prints seconds, the largest resident memory in KiB, and what the repository grew by. GNU time has to be installed.
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

step() {
    name=$1; shift
    before=$(du -sb "$place/repo" | cut -f1)
    /usr/bin/time -f "%e s, %M KiB" -o "$place/time" "$@" > "$place/out"
    echo "$name: $(cat "$place/time"), $(($(du -sb "$place/repo" | cut -f1) - before)) bytes added"
}

"$dumpvault" init --key-file "$place/key" > /dev/null
sleep 3 # what was changed within two seconds is read again
step "first" "$dumpvault" backup --path "$place/tree" --series files
sleep 3
step "unchanged" "$dumpvault" backup --path "$place/tree" --series files
"$dumpvault" show files | grep -E '^(unchanged|rows|copied) '
find "$place/tree" -name '*[05]00.txt' -exec sh -c 'for f do echo changed > "$f"; done' sh {} +
find "$place/tree" -name '*7[123].txt' -name '*00*' -delete
sleep 3
step "some changed" "$dumpvault" backup --path "$place/tree" --series files
step "one file" "$dumpvault" restore files --to-dir "$place/into" --path "$place/tree/000/00000/file-0000123.txt"
step "all files" "$dumpvault" restore files --to-dir "$place/all"
