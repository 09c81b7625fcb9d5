#!/usr/bin/env bash
# Records the demo as text: runs it and writes docs/demo.md, with the command, the build, the date and the machine.
#
#   benches/demo.sh [PROGRAM]
#
#   PROGRAM   a built dumpvault [default: target/release/dumpvault]
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/release/dumpvault}
build=$(git rev-parse --short HEAD)
profile=release
[[ $program == *debug* ]] && profile=development
said=$("$program" demo)
cat >docs/demo.md <<PAGE
# The demo

What \`dumpvault demo\` prints. Recorded by \`benches/demo.sh\`: version $("$program" --version | cut -d' ' -f2), commit $build,
$profile build, $(date -u +%F), $(nproc) cores.

\`\`\`text
$said
\`\`\`
PAGE
printf 'wrote docs/demo.md\n'
