#!/usr/bin/env bash
# Measures what clients notice while a node of five is killed, another paused,
# and a third slow; then checks every acknowledged write at all its owners.
# Flags are passed on to cmd/internal/load/internal/faults (-help lists them).
# It ends and removes all that it started; the exit code is 1 where a goal is
# missed, and the nodes' logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

# shellcheck source=deploy/local/measure.sh
. "$(dirname "${BASH_SOURCE[0]}")/measure.sh"

export STARLING_PORT_BASE=${STARLING_PORT_BASE:-14800}
export STARLING_DURABILITY=${STARLING_DURABILITY:-sync}
export STARLING_REPLICAS=3
# What is found at the owners is to be the work of hints alone.
export STARLING_READ_REPAIR_ENABLED=false
export STARLING_ANTIENTROPY_ENABLED=false

build faults
echo "starting five nodes, N=3, durability $STARLING_DURABILITY, no read repair, no anti-entropy" >&2
"$here/cluster.sh" up 5 >/dev/null
measure faults "$@"
