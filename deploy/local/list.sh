#!/usr/bin/env bash
# Measures pages of keys on a cluster of five nodes where most keys were deleted,
# with all nodes and with one of them killed. Flags are passed on to
# cmd/internal/load/internal/listing (-help lists them). It ends and removes all
# that it started; the exit code is 1 where a goal is missed, and the nodes' logs
# are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

# shellcheck source=deploy/local/measure.sh
. "$(dirname "${BASH_SOURCE[0]}")/measure.sh"

export STARLING_PORT_BASE=${STARLING_PORT_BASE:-15200}

build listing
echo "starting five nodes" >&2
"$here/cluster.sh" up 5 >/dev/null
measure listing "$@"
