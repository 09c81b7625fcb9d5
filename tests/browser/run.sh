#!/usr/bin/env bash
# Shows the pages of `dumpvault serve` in Chromium: looks for faults of accessibility, walks the whole way of a backup with and without
# JavaScript, and makes a picture of every page.
#
#   tests/browser/run.sh [--program PATH] [--pictures FOLDER] [--rows N]
#
# Installs Debian's chromium and chromium-driver, Selenium from PyPI and axe-core from npm where they are missing.
# Exit status: 0 only if nothing was found.
set -euo pipefail
cd "$(dirname "$0")/../.."
program= pictures= rows=
while [ $# -gt 0 ]; do
    case $1 in
        --program) program=$2 && shift ;;
        --pictures) pictures=$2 && shift ;;
        --rows) rows=$2 && shift ;;
        *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 3 ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-target}
if [ -z "$program" ]; then
    cargo build --locked
    program=$target/debug/dumpvault
fi
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    as_root=$([ "$(id -u)" -eq 0 ] || echo sudo -n)
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver fonts-dejavu-core
fi
tools=$target/test-browser
if [ ! -x "$tools/python/bin/python" ]; then
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check selenium==4.51.0
fi
[ -f "$tools/node_modules/axe-core/axe.min.js" ] || npm install --silent --no-audit --no-fund --prefix "$tools" axe-core@4.14.1
exec "$tools/python/bin/python" tests/browser/pages.py --program "$(realpath "$program")" --axe "$tools/node_modules/axe-core/axe.min.js" \
    --pictures "${pictures:-$tools/pictures}" --rows "${rows:-0}"
