#!/usr/bin/env bash
# Changes the members of a cluster of three nodes under load: two join, two
# leave, a dead one is replaced, three join of which one dies. Every read is
# checked, and in the end every acknowledged write at all its owners. Flags are
# passed on to cmd/internal/load/internal/grow (-help lists them). It ends and
# removes all that it started; the exit code is 1 where a goal is missed, and the
# nodes' logs are then kept in KEEP_LOGS, if that is set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root

# Beside the checkout, for temporary directories are often in memory, where a
# sync costs nothing.
STARLING_HOME=$(mktemp -d "$root/.bench.XXXXXX")
STARLING_PORT_BASE=${STARLING_PORT_BASE:-14800}
STARLING_DURABILITY=${STARLING_DURABILITY:-sync}
STARLING_REPLICAS=3
export STARLING_HOME STARLING_PORT_BASE STARLING_DURABILITY STARLING_REPLICAS
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
CGO_ENABLED=0 go build -o "$STARLING_HOME/grow" ./cmd/internal/load/internal/grow
echo "starting three nodes, N=3, durability $STARLING_DURABILITY" >&2
"$here/cluster.sh" up 3 >/dev/null
"$STARLING_HOME/grow" -script "$here/cluster.sh" "$@" &
bench_pid=$!
code=0
wait "$bench_pid" || code=$?
bench_pid=''
exit $code
