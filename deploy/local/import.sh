#!/usr/bin/env bash
# Compares starling import with one put a request on a cluster of five nodes, in
# turns. Flags are passed on to cmd/internal/load/internal/importing (-help lists
# them). It ends and removes all that it started; the exit code is 1 where the
# goal is missed, and the nodes' logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

# shellcheck source=deploy/local/measure.sh
. "$(dirname "${BASH_SOURCE[0]}")/measure.sh"

export STARLING_PORT_BASE=${STARLING_PORT_BASE:-15000}
export STARLING_DURABILITY=${STARLING_DURABILITY:-sync}

build importing
echo "starting five nodes, durability $STARLING_DURABILITY" >&2
"$here/cluster.sh" up 5 >/dev/null
measure importing "$@"
