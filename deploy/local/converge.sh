#!/usr/bin/env bash
# Measures how replicas become equal again, and what that costs: a node that
# was away while keys changed; with -million one key among a million; with
# -pairs N throughput with and without exchanges. Flags are passed on to
# cmd/internal/load/internal/converge (-help lists them). It ends and removes
# all that it started; the exit code is 1 where a goal is missed, and the nodes'
# logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

# shellcheck source=deploy/local/measure.sh
. "$(dirname "${BASH_SOURCE[0]}")/measure.sh"

export STARLING_PORT_BASE=${STARLING_PORT_BASE:-14900}
# What is measured is not what a sync costs, and there is much to load.
export STARLING_DURABILITY=${STARLING_DURABILITY:-interval}

build converge
measure converge "$@"
