#!/bin/sh
# Four nodes on 127.0.0.1:5001 to 5004 that form a mesh: a registry and three that join it. Ctrl-C ends them all.
# Usage: tools/mesh.sh BUILD_FOLDER (called by ./run mesh)
set -eu
build=$1
here=$(cd "$(dirname "$0")/.." && pwd)
show=$build
[ "$build" = "$(pwd)/build" ] && show=build
times=$here/examples/times.sh
[ "$here" = "$(pwd)" ] && times=examples/times.sh
dir=$(mktemp -d)
pids=""
end() {
  trap - EXIT INT TERM
  for p in $pids; do kill -TERM "$p" 2>/dev/null || true; done
  for p in $pids; do wait "$p" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap end EXIT
trap 'end; exit 0' INT TERM
join=""
for i in 1 2 3 4; do
  name=provider$((i - 1))
  [ "$i" = 1 ] && name=registry
  # shellcheck disable=SC2086
  "$build/maculad" --listen 127.0.0.1:500$i --name "$name" --state "$dir/s$i" --http off --mqtt off $join >"$dir/log$i" 2>&1 &
  pids="$pids $!"
  join="--join 127.0.0.1:5001"
done
tries=0
while ! "$build/macula" -s 127.0.0.1:5004 --insecure --json peers 2>/dev/null | grep -q '"total": *3'; do
  for p in $pids; do
    kill -0 "$p" 2>/dev/null && continue
    echo "macula: a node did not start:" >&2
    cat "$dir"/log? | grep -E '^maculad:|level=error' >&2
    exit 1
  done
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo "macula: the nodes did not find each other; their logs are in $dir" >&2; trap - EXIT; exit 1; }
  sleep 0.1
done
cat <<TXT
Four nodes: registry 127.0.0.1:5001, provider1 to provider3 127.0.0.1:5002 to 5004; their logs are $dir/log1 to log4.

Try in other terminals (--insecure, since these nodes get new keys at each start):
  $show/macula --insecure -s 127.0.0.1:5002 serve test.calculator --exec '$times 2' &
  $show/macula --insecure -s 127.0.0.1:5003 serve test.calculator --exec '$times 3' &
  $show/macula --insecure -s 127.0.0.1:5004 serve test.calculator --exec '$times 4' &
  $show/macula --insecure -s 127.0.0.1:5001 call test.calculator '{"x":7}' --strategy round_robin
  $show/macula --insecure -s 127.0.0.1:5003 sub 'sensor.*.room1' &
  $show/macula --insecure -s 127.0.0.1:5004 pub sensor.temp.room1 23.5
  $show/macula --insecure -s 127.0.0.1:5001 peers
Ctrl-C ends the nodes.
TXT
wait
