#!/usr/bin/env bash
# A cluster of real processes on this machine. Run without arguments for help.
#
# Needs bin/starling (make build) and no other tool beyond a POSIX system; runs
# on bash 3.2. Every verb can be repeated. Only processes whose recorded id
# still runs with the node's own data directory are ever signalled.
set -euo pipefail

readonly max_nodes=9 default_nodes=5 ready_seconds=60 stop_seconds=30 leave_seconds=600
replaces=''

usage() {
  cat <<'TEXT'
usage: cluster.sh VERB

  up [N]      start n1 to nN (default 5, at most 9) and every node that was
              added, wait until all are ready, print the endpoints
  down        stop every node, and Prometheus
  status      processes, then what the cluster says
  endpoints   one HTTP endpoint a line; Prometheus, if it runs, on standard error
  kill I      SIGKILL node I
  stop I      SIGTERM node I and wait for its exit
  start I     start node I with its data, wait until it is ready; a node
              whose data is gone joins as a new member
  pause I     SIGSTOP node I
  resume I    SIGCONT node I
  add         start one more node, which joins
  leave I     node I hands over its data, leaves the cluster for good, and
              exits; what is left of its data is put aside as data.left
  replace I   start a new node in the place of node I, which is dead and whose
              data is gone
  logs I      show node I's log; with -f go on showing
  wipe I      remove node I's data; it must not run
  wipe        down, then remove every node's data and log

Node I serves HTTP on base + 10*I, RPC one above, gossip two above; base is
4700 or STARLING_PORT_BASE. Data and logs lie under .starling/ in the
repository, or in STARLING_HOME. Other STARLING_ settings in the environment
reach the nodes that this call starts.

With MONITORING=1 in the environment up also starts Prometheus on the nodes, at
base + 99, with the rules of deploy/monitoring, if it is installed.
TEXT
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'cluster.sh: %s\n' "$*" >&2
  exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root binary=$root/bin/starling base=${STARLING_PORT_BASE:-4700}

case $base in
'' | *[!0-9]*) fail "STARLING_PORT_BASE is \"$base\": want a port number" ;;
esac
readonly max_base=$((65535 - 99))
if [ "$base" -lt 1 ] || [ "$base" -gt $max_base ]; then
  fail "STARLING_PORT_BASE is $base: want 1 to $max_base"
fi

# parent/.starling, absolute without requiring that it exists.
parent=${STARLING_HOME:-$root}
case $parent in
/*) ;;
*) parent=$PWD/$parent ;;
esac
readonly home=$parent/.starling monitoring=$parent/.starling/monitoring

node_dir() { printf '%s/n%s' "$home" "$1"; }
http_port() { printf '%s' $((base + 10 * $1)); }
rpc_port() { printf '%s' $((base + 10 * $1 + 1)); }
monitoring_port() { printf '%s' $((base + 99)); }
monitoring_url() { printf 'http://127.0.0.1:%s' "$(monitoring_port)"; }
gossip_port() { printf '%s' $((base + 10 * $1 + 2)); }
endpoint() { printf 'http://127.0.0.1:%s' "$(http_port "$1")"; }

# index checks a node number and prints it; n3 is 3.
index() {
  case ${1:-} in
  [1-9] | n[1-9]) printf '%s' "${1#n}" ;;
  *) fail "node \"${1:-}\": want 1 to $max_nodes" ;;
  esac
}

# nodes prints the numbers of the nodes that were ever started.
nodes() {
  local i
  for i in $(seq 1 $max_nodes); do
    if [ -d "$(node_dir "$i")" ]; then printf '%s\n' "$i"; fi
  done
}

has_data() { [ -d "$(node_dir "$1")/data" ]; } # I

# members prints the numbers of the nodes that have data.
members() {
  local i
  for i in $(nodes); do
    if has_data "$i"; then printf '%s\n' "$i"; fi
  done
}

require_node() {
  [ -d "$(node_dir "$1")" ] || fail "n$1 does not exist: see up and add"
}

# --- processes ---------------------------------------------------------------

command_line() { # PID
  if [ -r "/proc/$1/cmdline" ]; then
    tr '\0' ' ' <"/proc/$1/cmdline"
  else
    ps -ww -p "$1" -o command= 2>/dev/null || true
  fi
}

# pid_of prints the id of node I's process; fails when it does not run. An id
# that the system gave to another process since, or that has exited and waits
# to be reaped, has another command line.
pid_of() { # I
  local file pid
  file=$(node_dir "$1")/pid
  [ -f "$file" ] || return 1
  pid=$(cat "$file")
  case $pid in
  '' | *[!0-9]*) return 1 ;;
  esac
  kill -0 "$pid" 2>/dev/null || return 1
  case "$(command_line "$pid") " in
  *"--data-dir $(node_dir "$1")/data "*) printf '%s' "$pid" ;;
  *) return 1 ;;
  esac
}

runs() { pid_of "$1" >/dev/null; }

running() {
  local i
  for i in $(nodes); do
    if runs "$i"; then printf '%s\n' "$i"; fi
  done
}

signal() { # SIGNAL I
  local pid
  if pid=$(pid_of "$2"); then kill "-$1" "$pid" 2>/dev/null || true; fi
}

# await_exit waits for the nodes to be gone; fails when time runs out.
await_exit() { # SECONDS I...
  local end=$((SECONDS + $1)) i
  shift
  for i in "$@"; do
    while runs "$i"; do
      [ $SECONDS -lt $end ] || return 1
      sleep 0.1
    done
    rm -f "$(node_dir "$i")/pid"
    await_free_ports "$i"
  done
}

# --- ports -------------------------------------------------------------------

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # PORT

# port_owner names the process that listens on a port, if this user may know.
port_owner() { # PORT
  local pid='' inode
  if command -v lsof >/dev/null; then
    pid=$(lsof -nP -t -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | head -n 1) || true
  elif [ -r /proc/net/tcp ]; then
    inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
      awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }') || true
    pid=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1 | cut -d / -f 3) || true
  fi
  if [ -n "$pid" ]; then
    printf 'process %s (%s)' "$pid" "$(command_line "$pid" | cut -c 1-120)"
  else
    printf 'another process'
  fi
}

ports() { printf '%s\n' "$(http_port "$1")" "$(rpc_port "$1")" "$(gossip_port "$1")"; }

# await_free_ports waits a little for the ports of a node that has ended: its
# process can have no command line any more while its sockets are still open.
await_free_ports() { # I
  local end=$((SECONDS + 2)) port
  for port in $(ports "$1"); do
    while listening "$port" && [ $SECONDS -lt $end ]; do sleep 0.05; done
  done
}

require_free_ports() { # I
  local port
  for port in $(ports "$1"); do
    if listening "$port"; then
      fail "n$1 needs port $port, which $(port_owner "$port") has. End it, or choose other ports with STARLING_PORT_BASE."
    fi
  done
}

# ready asks /readyz without curl, which a fresh machine may lack.
# readiness prints what a node answers when it is asked whether it is ready.
readiness() { # I
  local text=''
  {
    exec 3<>"/dev/tcp/127.0.0.1/$(http_port "$1")" || return 1
    printf 'GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
    IFS= read -r -t 2 -d '' text <&3 || true # it ends with the connection
    exec 3>&-
  } 2>/dev/null
  printf '%s' "$text"
}

ready() { # I
  case $(readiness "$1") in
  HTTP/1.?' 200'*) ;;
  *) return 1 ;;
  esac
}

# unfilled prints how many partitions a node that joins still lacks.
unfilled() { readiness "$1" | sed -n 's/.* \([0-9][0-9]*\) partitions.*/\1/p'; } # I

# --- starting ----------------------------------------------------------------

# seeds prints the join list of node I: the members that were there when this
# call began, the first of them in front. The first node of all has none: it
# creates the cluster.
seeds() { # I MEMBER...
  local self=$1 list='' i
  shift
  for i in "$@"; do
    if [ "$i" != "$self" ]; then list=${list:+$list,}127.0.0.1:$(rpc_port "$i"); fi
  done
  printf '%s' "$list"
}

# launch starts the process of node I, if it does not run, with these members
# to join; in the place of the dead member $replaces, if the caller has set it.
launch() { # I MEMBER...
  local i=$1 dir join
  dir=$(node_dir "$1")
  if runs "$i"; then
    signal CONT "$i"
    return
  fi
  [ -x "$binary" ] || fail "bin/starling is missing: run make build"
  require_free_ports "$i"
  join=$(seeds "$@")
  mkdir -p "$dir/data"
  (
    unset STARLING_HOME STARLING_PORT_BASE STARLING_ENDPOINT
    trap '' HUP # the node outlives the terminal,
    set -m      # and Ctrl-C, by a process group of its own
    "$binary" serve --name "n$i" \
      --http "127.0.0.1:$(http_port "$i")" --rpc "127.0.0.1:$(rpc_port "$i")" --gossip "127.0.0.1:$(gossip_port "$i")" \
      ${join:+--join "$join"} ${replaces:+--replace "$replaces"} --data-dir "$dir/data" </dev/null >>"$dir/log" 2>&1 &
    printf '%s\n' $! >"$dir/pid.new"
  )
  mv "$dir/pid.new" "$dir/pid"
  await_command "$i"
}

# await_command waits until a new process shows its own command line, so that
# from then on one that does not run has exited.
await_command() { # I
  local end=$((SECONDS + 10)) pid
  pid=$(cat "$(node_dir "$1")/pid")
  until runs "$1" || ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $end ]; do sleep 0.05; done
}

explain_failure() { # WHAT I...
  local i
  printf 'cluster.sh: %s\n' "$1" >&2
  shift
  for i in "$@"; do
    printf -- '--- end of the log of n%s (%s)\n' "$i" "$(node_dir "$i")/log" >&2
    tail -n 15 "$(node_dir "$i")/log" >&2 || true
  done
  exit 1
}

# await_ready waits for nodes. One that is being filled may take its time, as
# long as it goes on.
await_ready() { # I...
  local end=$((SECONDS + ready_seconds)) i left before=''
  for i in "$@"; do
    until ready "$i"; do
      runs "$i" || explain_failure "n$i has exited" "$i"
      if [ $SECONDS -ge $end ]; then
        left=$(unfilled "$i")
        [ "$left" != "$before" ] || explain_failure "n$i is not ready after $ready_seconds seconds" "$i"
        before=$left end=$((SECONDS + ready_seconds))
      fi
      sleep 0.1
    done
  done
}

# await_member waits until a node knows its cluster, be it ready or not.
await_member() { # I
  local end=$((SECONDS + ready_seconds))
  until "$binary" cluster plan --endpoint "$(endpoint "$1")" >/dev/null 2>&1; do
    runs "$1" || explain_failure "n$1 has exited" "$1"
    [ $SECONDS -lt $end ] || explain_failure "n$1 knows no cluster after $ready_seconds seconds" "$1"
    sleep 0.2
  done
}

# await_settled waits until every node of the list calls the cluster healthy:
# all members alive and no partition pending.
await_settled() { # I...
  local end=$((SECONDS + ready_seconds)) i answer
  for i in "$@"; do
    until answer=$("$binary" status --endpoint "$(endpoint "$i")" 2>&1); do
      if [ $SECONDS -ge $end ]; then
        say "$answer" >&2
        explain_failure "the cluster, as n$i sees it, has not settled after $ready_seconds seconds" "$i"
      fi
      sleep 0.2
    done
  done
}

# --- monitoring --------------------------------------------------------------

# monitoring_pid prints the id of the Prometheus of this cluster; fails when it
# does not run.
monitoring_pid() {
  local pid
  [ -f "$monitoring/pid" ] || return 1
  pid=$(cat "$monitoring/pid")
  case $pid in
  '' | *[!0-9]*) return 1 ;;
  esac
  kill -0 "$pid" 2>/dev/null || return 1
  case "$(command_line "$pid") " in
  *"--storage.tsdb.path=$monitoring/data "*) printf '%s' "$pid" ;;
  *) return 1 ;;
  esac
}

# monitor starts Prometheus on all members, or tells the one that runs of them.
monitor() {
  local end=$((SECONDS + 20)) pid
  if ! command -v prometheus >/dev/null; then
    say "MONITORING=1: prometheus is not installed here, so it is not started (Debian: apt-get install prometheus)" >&2
    return
  fi
  mkdir -p "$monitoring/data"
  sed 's/15s$/5s/' "$root/deploy/monitoring/prometheus.yml" >"$monitoring/prometheus.yml"
  cp "$root/deploy/monitoring/rules.yml" "$monitoring/rules.yml"
  tell_monitoring
  if monitoring_pid >/dev/null; then return; fi
  if listening "$(monitoring_port)"; then
    fail "prometheus needs port $(monitoring_port), which $(port_owner "$(monitoring_port)") has. End it, or choose other ports with STARLING_PORT_BASE."
  fi
  (
    trap '' HUP
    set -m
    prometheus --config.file="$monitoring/prometheus.yml" --web.listen-address="127.0.0.1:$(monitoring_port)" \
      --storage.tsdb.path="$monitoring/data" </dev/null >>"$monitoring/log" 2>&1 &
    printf '%s\n' $! >"$monitoring/pid"
  )
  pid=$(cat "$monitoring/pid")
  until listening "$(monitoring_port)"; do
    if ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
      tail -n 5 "$monitoring/log" >&2
      fail "prometheus does not serve: see $monitoring/log"
    fi
    sleep 0.1
  done
}

# tell_monitoring writes the members down for Prometheus, which sees the change.
tell_monitoring() {
  local i
  [ -d "$monitoring" ] || return 0
  for i in $(members); do
    printf -- '- targets: ["127.0.0.1:%s"]\n  labels: {cluster: local, instance: n%s}\n' "$(http_port "$i")" "$i"
  done >"$monitoring/nodes.new"
  mv "$monitoring/nodes.new" "$monitoring/nodes.yml"
}

# end_monitoring stops Prometheus.
end_monitoring() {
  local end=$((SECONDS + stop_seconds)) pid
  if pid=$(monitoring_pid); then
    kill -TERM "$pid" 2>/dev/null || true
    while monitoring_pid >/dev/null; do
      [ $SECONDS -lt $end ] || fail "prometheus (process $pid) does not end"
      sleep 0.1
    done
  fi
  rm -f "$monitoring/pid"
}

# show_monitoring prints where Prometheus answers, if it runs.
show_monitoring() {
  if monitoring_pid >/dev/null; then say "prometheus $(monitoring_url)"; fi
}

# --- verbs -------------------------------------------------------------------

up() { # N
  local n=$1 before all i
  case $n in
  [1-9]) ;;
  *) fail "up $n: want 1 to $max_nodes nodes" ;;
  esac
  before=$(members)
  all=$( (seq 1 "$n" && say "$before") | grep . | sort -u)
  # shellcheck disable=SC2086 # lists of numbers
  for i in $all; do
    launch "$i" ${before:-1}
    if [ -z "$before" ]; then # n1 makes the cluster that the others join
      await_ready 1
    fi
  done
  # shellcheck disable=SC2086
  await_ready $all
  # shellcheck disable=SC2086
  await_settled $all
  if [ "${MONITORING:-}" = 1 ]; then monitor; fi
  endpoints
}

down() {
  local left
  end_monitoring
  left=$(running)
  [ -n "$left" ] || return 0
  local i
  for i in $left; do
    signal TERM "$i"
    signal CONT "$i" # a paused process only then sees the first
  done
  # shellcheck disable=SC2086
  if ! await_exit $stop_seconds $left; then
    for i in $(running); do
      say "n$i did not stop in $stop_seconds seconds: killing it" >&2
      signal KILL "$i"
    done
    # shellcheck disable=SC2086
    await_exit 10 $left || fail "a node does not end"
  fi
}

start() { # I
  local there
  require_node "$1"
  there=$(members)
  [ -n "$there" ] || fail "no node has data, so there is no cluster that n$1 could join: see up"
  # shellcheck disable=SC2086
  launch "$1" $there
  await_ready "$1"
}

stop() { # I
  require_node "$1"
  signal TERM "$1"
  signal CONT "$1"
  await_exit $stop_seconds "$1" || fail "n$1 still runs $stop_seconds seconds after SIGTERM; see logs $1"
}

kill_node() { # I
  require_node "$1"
  signal KILL "$1"
  await_exit 10 "$1" || fail "n$1 does not end"
}

# leave waits until the other members know that node I has left, and then for
# its exit. Called again it goes on from there.
leave() { # I
  local dir
  dir=$(node_dir "$1")
  require_node "$1"
  if ! has_data "$1" && [ -d "$dir/data.left" ]; then return 0; fi
  if runs "$1"; then
    signal CONT "$1"
  elif ! has_left "$1"; then # it is started, so that it can hand over its data
    # shellcheck disable=SC2046
    launch "$1" $(members)
    await_member "$1"
  fi
  if runs "$1"; then
    "$binary" cluster leave --yes --wait --timeout "${leave_seconds}s" --endpoint "$(endpoint "$1")" >/dev/null ||
      await_left "$1" || fail "n$1 has not left; see status, and logs $1"
    await_exit $stop_seconds "$1" || fail "n$1 has left and still runs after $stop_seconds seconds; see logs $1"
  fi
  await_left "$1" || fail "n$1 has not left; see status, and logs $1"
  rm -rf "$dir/data.left"
  mv "$dir/data" "$dir/data.left"
  tell_monitoring
}

# await_left waits a little for has_left: a node ends its API before it is removed.
await_left() { # I
  local end=$((SECONDS + 10))
  until has_left "$1"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# has_left says whether a node that runs knows a removed member with the address
# of node I, and none that is not removed.
has_left() { # I
  # shellcheck disable=SC2046
  { "$binary" status -o json $(endpoint_flags) 2>/dev/null || true; } |
    awk -v address="\"127.0.0.1:$(http_port "$1")\"" '
      $1 == "\"state\":" { state = $2 }
      $1 == "\"http\":" && index($2, address) == 1 { if (state ~ /removed/) left = 1; else there = 1 }
      END { exit !(left && !there) }'
}

# replace starts node I anew, without data, in the place of the member nI.
replace() { # I
  local there replaces=n$1
  require_node "$1"
  if runs "$1"; then fail "n$1 runs: only a node that is dead can be replaced"; fi
  if has_data "$1"; then fail "n$1 has data: start it, or give the data up with wipe $1"; fi
  there=$(members)
  [ -n "$there" ] || fail "no node has data, so there is no cluster: see up"
  # shellcheck disable=SC2086
  launch "$1" $there
  await_ready "$1"
}

pause() { # I
  runs "$1" || fail "n$1 does not run"
  signal STOP "$1"
}

resume() { # I
  runs "$1" || fail "n$1 does not run"
  signal CONT "$1"
}

add() {
  local before last next
  before=$(members)
  [ -n "$(running)" ] || fail "no node runs: see up"
  last=${before##*$'\n'}
  next=$((last + 1))
  [ $next -le $max_nodes ] || fail "there are $max_nodes nodes already"
  # shellcheck disable=SC2086
  launch $next $before
  tell_monitoring
  await_ready $next
  endpoint $next
  say
}

endpoints() {
  local i
  for i in $(members); do
    endpoint "$i"
    say
  done
  show_monitoring >&2 # no endpoint of the cluster, for who reads them in a script
}

# endpoint_flags names the nodes that run to the command line.
endpoint_flags() {
  local i
  for i in $(running); do printf -- '--endpoint %s\n' "$(endpoint "$i")"; done
}

status() {
  local i pid
  for i in $(members); do
    if pid=$(pid_of "$i"); then
      say "n$i process $pid $(endpoint "$i")"
    else
      say "n$i not running"
    fi
  done
  show_monitoring
  [ -n "$(running)" ] || fail "no node runs: see up"
  # shellcheck disable=SC2046
  "$binary" status $(endpoint_flags)
}

logs() { # I [-f]
  local file
  file=$(node_dir "$1")/log
  [ -f "$file" ] || fail "n$1 has no log"
  if [ "${2:-}" = -f ]; then tail -n 200 -f "$file"; else cat "$file"; fi
}

wipe() { # [I]
  local i
  if [ -n "${1:-}" ]; then
    if runs "$1"; then fail "n$1 runs: stop it before its data is removed"; fi
    rm -rf "$(node_dir "$1")"/{data,data.left}
    return
  fi
  down
  for i in $(seq 1 $max_nodes); do rm -rf "$(node_dir "$i")"; done
  rm -rf "$monitoring"
  rmdir "$home" 2>/dev/null || true
}

main() {
  local verb=${1:-help} i
  [ $# -eq 0 ] || shift
  case $verb in
  up) up "${1:-$default_nodes}" ;;
  kill | stop | start | pause | resume | leave | replace | logs)
    i=$(index "${1:-}")
    [ "$verb" != kill ] || verb=kill_node
    "$verb" "$i" "${2:-}"
    ;;
  wipe)
    i=${1:+$(index "$1")}
    wipe "$i"
    ;;
  add | down | status | endpoints) "$verb" ;;
  help | -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
  esac
}

main "$@"
