#!/usr/bin/env bash
# Measures three nodes that sync every write against a bare net/http echo
# server on this machine, and prints the ratios. Flags are passed on to
# bin/starling bench compare. It ends and removes all that it started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root value_bytes=1024 connections=32

# Beside the checkout, for temporary directories are often in memory, where a
# sync costs nothing.
STARLING_HOME=$(mktemp -d "$root/.bench.XXXXXX")
STARLING_PORT_BASE=${STARLING_PORT_BASE:-14700}
STARLING_DURABILITY=sync
export STARLING_HOME STARLING_PORT_BASE STARLING_DURABILITY
echo_pid=''

cleanup() {
  if [ -n "$echo_pid" ]; then
    kill "$echo_pid" 2>/dev/null || true
    wait "$echo_pid" 2>/dev/null || true
  fi
  "$here/cluster.sh" down || true
  rm -rf "$STARLING_HOME"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "starting three nodes, durability $STARLING_DURABILITY"
"$here/cluster.sh" up 3 >/dev/null
endpoints=$("$here/cluster.sh" endpoints | paste -s -d , -)

echo_address=127.0.0.1:$((STARLING_PORT_BASE + 5))
"$root/bin/starling" bench-echo --listen "$echo_address" --bytes $value_bytes >"$STARLING_HOME/echo.log" 2>&1 &
echo_pid=$!
until (exec 3<>"/dev/tcp/${echo_address%:*}/${echo_address#*:}") 2>/dev/null; do
  if ! kill -0 "$echo_pid" 2>/dev/null; then
    echo "bench.sh: the echo server has exited:" >&2
    cat "$STARLING_HOME/echo.log" >&2
    exit 1
  fi
  sleep 0.1
done

"$root/bin/starling" bench compare --endpoints "$endpoints" --echo "http://$echo_address" \
  --connections $connections --value-bytes $value_bytes "$@"
