#!/usr/bin/env bash
# Sourced by the scripts that measure a cluster of their own: faults.sh, grow.sh,
# converge.sh. It makes a home for the cluster, ends and removes all that was
# started there, and keeps the nodes' logs of a run that failed in KEEP_LOGS, if
# that is set.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root

# Beside the checkout, for temporary directories are often in memory, where a
# sync costs nothing.
STARLING_HOME=$(mktemp -d "$root/.bench.XXXXXX")
export STARLING_HOME
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

# build makes one of the programs of cmd/internal/load/internal.
build() { # PROGRAM
  (cd "$root" && CGO_ENABLED=0 go build -o "$STARLING_HOME/$1" "./cmd/internal/load/internal/$1")
}

# measure runs it and exits as it does.
measure() { # PROGRAM FLAG...
  local program=$STARLING_HOME/$1 code=0
  shift
  cd "$root" || exit
  "$program" -script "$here/cluster.sh" "$@" &
  bench_pid=$!
  wait "$bench_pid" || code=$?
  bench_pid=''
  exit $code
}
