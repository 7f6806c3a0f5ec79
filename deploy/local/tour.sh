#!/usr/bin/env bash
# A put and a get at each consistency level, with bin/starling and with curl,
# against the running local cluster. It can be repeated: it deletes its keys.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
endpoints=$("$here/cluster.sh" endpoints)
endpoint=${endpoints%%$'\n'*}
if [ -z "$endpoint" ]; then
  echo "tour.sh: there is no local cluster: see deploy/local/cluster.sh up" >&2
  exit 1
fi

# show prints a command as one would type it, and runs it.
show() {
  local word
  printf '\n$'
  for word in "$@"; do
    case $word in
    *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;;
    *) printf ' %s' "$word" ;;
    esac
  done
  echo
  "$@"
}

# soon is show for a read that may meet a replica which the write has not
# reached yet, as reads at level one may.
soon() {
  local tries
  for tries in 1 2 3 4 5; do
    if show "$@"; then
      [ "$tries" = 1 ] || echo "(attempt $tries: the write had not reached that replica before)"
      return
    fi
    sleep 0.2
  done
  return 1
}

for level in one quorum all; do
  show bin/starling put tour "cli-$level" "written at $level" --consistency $level --endpoint "$endpoint"
  soon bin/starling get tour "cli-$level" --consistency $level --endpoint "$endpoint"
  echo
  show bin/starling delete tour "cli-$level" --consistency all --endpoint "$endpoint"
done

if ! command -v curl >/dev/null; then
  printf '\ncurl is not installed: the same over HTTP is skipped\n'
  exit 0
fi
for level in one quorum all; do
  url="$endpoint/v1/buckets/tour/keys/curl-$level?consistency=$level"
  show curl -sS --fail -i -X PUT -H 'Content-Type: text/plain' --data "written at $level" "$url"
  soon curl -sS --fail -i "$url"
  echo
  show curl -sS --fail -i -X DELETE "${url%=*}=all"
done
