#!/usr/bin/env bash
# Measures backups to and restores from a bucket beside those of a folder, and with a wire of 50 ms, against a server on this machine.
#
#   benches/bucket.sh [SIZE_MB]
#
# The dump is the rows of the sample order database (default: 1000 MB) with random letters between them, so that it compresses 3 : 1. The
# server is a process of its own on the same cores.
# Five backups and twenty-five restores of either kind in turn, some six minutes. Prints each run, the medians, and the medians of the ratios of
# two that were measured one after the other.
set -euo pipefail

cd "$(dirname "$0")/.."
cargo build --quiet --profile dist --bin dumpvault
export DUMPVAULT_TEST_PROGRAM=$PWD/target/dist/dumpvault DUMPVAULT_TEST_FIGURES_MB=${1:-1000}
cargo test --quiet --release --test storage_s3 figures_of -- --ignored --nocapture
