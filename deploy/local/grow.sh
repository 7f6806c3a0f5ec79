#!/usr/bin/env bash
# Changes the members of a cluster of three nodes under load: two join, two
# leave, a dead one is replaced, three join of which one dies. Every read is
# checked, and in the end every acknowledged write at all its owners. Flags are
# passed on to cmd/internal/load/internal/grow (-help lists them). It ends and
# removes all that it started; the exit code is 1 where a goal is missed, and the
# nodes' logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

# shellcheck source=deploy/local/measure.sh
. "$(dirname "${BASH_SOURCE[0]}")/measure.sh"

export STARLING_PORT_BASE=${STARLING_PORT_BASE:-14800}
export STARLING_DURABILITY=${STARLING_DURABILITY:-sync}
export STARLING_REPLICAS=3

build grow
echo "starting three nodes, N=3, durability $STARLING_DURABILITY" >&2
"$here/cluster.sh" up 3 >/dev/null
measure grow "$@"
