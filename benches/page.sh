#!/usr/bin/env bash
# How long pages and answers of `dumpvault serve` take with a long history: median and 95th percentile of 40 requests each, one after
# the other, over one connection.
#
#   benches/page.sh [ROWS]      # rows of the history [default: 100000]
#
# Uses the release build; see tests/browser/run.sh for what it installs. To measure beside a backup, start one meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
exec tests/browser/run.sh --program "${CARGO_TARGET_DIR:-target}/release/dumpvault" --rows "${1:-100000}"
