#!/bin/bash
# What a container does. Without NODE_TYPE: maculad with the arguments given, or a command of the image (macula status).
#   registry   a node
#   provider   a node, and test.calculator served through it, times PROVIDER_MULTIPLIER
#   client     six calls of test.calculator through MACULA_SERVER; ends with 0 when all were answered
#   load       the load test, with the arguments given, on MACULA_NODES (host:port, separated by commas); a report in the state folder
# MACULA_IDENTITY, MACULA_TOKEN_FILE: what client and load show to nodes. ACCESS_FOLDER, shared by nodes and load, for tests: the first
# node makes an access file there, by which whoever knows node-token is a node, whoever knows token an operator, and all others clients.
set -u
macula=(macula -r "${MACULA_REALM:-default}")
[ -z "${MACULA_TOKEN_FILE:-}" ] || macula+=(--token-file "$MACULA_TOKEN_FILE")
[ -z "${MACULA_IDENTITY:-}" ] || macula+=(--identity "$MACULA_IDENTITY")

know_access() {
  local at=${ACCESS_FOLDER:-} umask
  [ -n "$at" ] || return 0
  export MACULA_ACCESS=$at/access.yaml
  [ ! -e "$MACULA_ACCESS" ] || return 0
  umask=$(umask)
  umask 077
  { macula token new >"$at/node-token" && macula token new >"$at/token"; } || exit 1
  umask "$umask"
  cat >"$MACULA_ACCESS" <<END || exit 1
grants:
  all: {pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}
tokens:
  - {file: $at/node-token, grant: all, role: node}
  - {file: $at/token, grant: all, role: operator}
default: all
END
}

# Waits for a command to succeed, at most 60 s.
wait_for() {
  local n
  for n in $(seq 120); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.5
  done
  echo "gave up after 60 s on: $*" >&2
  return 1
}

provider() {
  maculad "$@" &
  local node=$! serve
  trap 'kill $(jobs -p) 2>/dev/null' TERM INT
  wait_for /usr/lib/macula/live.sh ready || { kill $node; wait; exit 1; }
  "${macula[@]}" -s 127.0.0.1:9443 serve test.calculator --ttl 300s --exec /usr/lib/macula/calculator.sh &
  serve=$!
  # The end of either is the end of both: a provider without its node, or a node that offers nothing, is restarted whole.
  wait -n "$node" "$serve"
  local code=$?
  kill $node $serve 2>/dev/null
  wait
  exit "$code"
}

# Prints the original's lines: "Call #1:", "Success: provider=provider1, result=2, timestamp=1700000000" or "Error: why".
client() {
  local n out good=0
  wait_for "${macula[@]}" call test.calculator '{"x":0}' --timeout 2s || exit 1
  for n in 1 2 3 4 5 6; do
    [ $n = 1 ] || sleep 2
    echo "Call #$n:"
    if out=$("${macula[@]}" call test.calculator "{\"x\":$n}" --strategy round_robin --timeout 5s 2>&1); then
      # shellcheck disable=SC2001
      sed 's/.*"provider":"\([^"]*\)","result":\([^,]*\),"timestamp":\([0-9]*\).*/Success: provider=\1, result=\2, timestamp=\3/' <<<"$out"
      good=$((good + 1))
    else
      echo "Error: $out"
    fi
  done
  echo "Successful calls: $good/6"
  echo "All tests complete!"
  [ $good = 6 ]
}

case ${NODE_TYPE:-} in
  registry) know_access; exec maculad "$@" ;;
  provider) know_access; provider "$@" ;;
  client) client ;;
  load) exec "${macula[@]}" load --report "$HOME/report-$(date -u +%Y%m%d-%H%M%S)" "$@" --nodes "$MACULA_NODES" ;;
  "") case ${1:-} in macula | maculad | sh | bash | /*) exec "$@" ;; *) exec maculad "$@" ;; esac ;;
  *)
    echo "NODE_TYPE is '$NODE_TYPE': registry, provider, client and load are known" >&2
    exit 2
    ;;
esac
