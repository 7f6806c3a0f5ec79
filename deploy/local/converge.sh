#!/usr/bin/env bash
# Measures how replicas become equal again, and what that costs: a node that
# was away while keys changed; with -million one key among a million; with
# -pairs N throughput with and without exchanges. Flags are passed on to
# cmd/internal/load/internal/converge (-help lists them). It ends and removes
# all that it started; the exit code is 1 where a goal is missed, and the nodes'
# logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root

# Beside the checkout, for temporary directories are often in memory.
STARLING_HOME=$(mktemp -d "$root/.bench.XXXXXX")
STARLING_PORT_BASE=${STARLING_PORT_BASE:-14900}
# What is measured is not what a sync costs, and there is much to load.
STARLING_DURABILITY=${STARLING_DURABILITY:-interval}
export STARLING_HOME STARLING_PORT_BASE STARLING_DURABILITY
bench_pid=''

# shellcheck disable=SC2317 # the trap runs it
cleanup() {
  local code=$?
  if [ -n "$bench_pid" ]; then
    kill "$bench_pid" 2>/dev/null || true
    wait "$bench_pid" 2>/dev/null || true
  fi
  "$here/cluster.sh" down || true
  if [ "$code" -ne 0 ] && [ -n "${KEEP_LOGS:-}" ]; then
    mkdir -p "$KEEP_LOGS"
    for node in "$STARLING_HOME"/.starling/n*; do
      cp "$node/log" "$KEEP_LOGS/${node##*/}.log" || true
    done
  fi
  rm -rf "$STARLING_HOME"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$root"
CGO_ENABLED=0 go build -o "$STARLING_HOME/converge" ./cmd/internal/load/internal/converge
"$STARLING_HOME/converge" -script "$here/cluster.sh" "$@" &
bench_pid=$!
code=0
wait "$bench_pid" || code=$?
bench_pid=''
exit $code
