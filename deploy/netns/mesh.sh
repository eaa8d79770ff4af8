#!/bin/bash
# A mesh of nodes, each on a host of its own: network namespaces of this machine, joined by veth pairs and a bridge.
# Needs root, iproute2 and, for loss and partition, nftables. Nothing leaves the namespaces; nothing stays after `down`.
set -eu

usage() {
  cat <<'END'
Usage: mesh.sh [OPTION]... COMMAND [ARGUMENT]...
Hosts h1, h2, ... run a node each; host c is for clients. All hang on one switch.

  up [-- OPTION...]           build the hosts, start the nodes (with these options of maculad), join them through h1
  down                        end the nodes, remove everything
  status                      hosts, nodes, and what is dropped
  run [--on HOST] CMD...      run CMD on host c (or HOST), its macula set up for h1 (or HOST's node)
  load SCENARIO ARGUMENT...   run `macula load SCENARIO ... --nodes ALL` on host c; all parts h1 and h2 from the others meanwhile
  loss PERCENT                drop this share of all packets, at random, each packet for itself; 0 ends it
  partition GROUP GROUP...    cut groups of hosts from each other: partition "1 2" "3 4 c"; hosts in no group stay
  partition --one-way A B     only what A sends to B is lost
  heal                        end the partition
  rate MBIT                   limit each host's link, both ways; 0 ends it
  delay MS [JITTER]           delay what each host receives; 0 ends it (where the kernel has netem)
  check                       what this machine can do

  -n N        hosts with nodes (4; 1 to 64)
  -m NAME     the mesh to speak of, when several are up ($MACULA_MESH)
  -p PREFIX   start of a new mesh's name, before this process's id (macula); of those that are up only such are meant
  -o OPTION   of maculad, for nodes that load builds: -o --max-clients=100; as often as needed
  -b FOLDER   where maculad and macula are (../../build, else PATH)

run and load build a mesh of their own when none is up, which no other command takes unless named, and remove it at the end, also after
Ctrl-C.
Example: mesh.sh up && mesh.sh loss 5 && mesh.sh run macula status; mesh.sh down
END
}

die() { echo "mesh: $*" >&2; exit 1; }
note() { echo "mesh: $*" >&2; }

root=/run/macula-mesh
here=$(cd "$(dirname "$0")" && pwd)
count=4
mesh=${MACULA_MESH:-}
prefix=""
options=()
probed=""
bin=""
child=""
building=""

# ---- names ----
ns() { echo "$mesh-$1"; }              # of a host, or of the switch: sw
address() { [ "$1" = c ] && echo 10.77.0.254 || echo "10.77.0.${1#h}"; }
# Not `ip netns exec`: that needs / to be a mount point, which it is not in a chroot.
inside() { local n=$1; shift; nsenter --net="/run/netns/$n" "$@"; }
in_ns() { local n; n=$(ns "$1"); shift; inside "$n" "$@"; }
nodes() { seq -f 'h%g' 1 "$(cat "$root/$mesh/count")"; }
server() { echo "macula://$(cat "$root/$mesh/$1/id")@$(address "$1"):9443"; }
namespaces() { ip netns list 2>/dev/null | awk -v m="$mesh-" 'index($1, m) == 1 { print $1 }'; }

# Accepts 3, h3 and c.
host() {
  local h=$1
  [ "$h" = c ] || h=h${h#h}
  [ -d "$root/$mesh/$h" ] || die "there is no host $1 in $mesh: $(nodes | tr '\n' ' ')c"
  echo "$h"
}

# The mesh that is meant: -m, else the only one that `up` has finished, with -p of those whose name begins so. One that another
# `run` or `load` has built for itself goes when that ends, and is taken only when it is named.
find_mesh() {
  local all=() d name
  own=()
  if [ -z "$mesh" ]; then
    for d in "$root/$prefix"*/; do
      [ -d "$d" ] || continue
      name=$(basename "$d")
      if [ -e "$d/up" ]; then all+=("$name"); else own+=("$name"); fi
    done
    [ ${#all[@]} -le 1 ] || die "several are up, say which with -m: ${all[*]}"
    mesh=${all[0]:-}
  fi
  [ -n "$mesh" ] && [ -d "$root/$mesh" ]
}
need_mesh() {
  find_mesh || {
    [ ${#own[@]} -eq 0 ] || note "some are other commands' own, or half built: -m ${own[*]}"
    die "no mesh${mesh:+ named $mesh} is up: mesh.sh up"
  }
}

# ---- what this machine can do ----
# Prints "FEATURE yes" or "FEATURE no: why" a line, from one namespace that is removed again.
probe() {
  local n="${prefix:-macula}$$-probe" why
  say() { local f=$1; shift; if why=$("$@" 2>&1); then echo "$f yes"; else echo "$f no: $(head -n 1 <<<"$why")"; fi; }
  [ "$(id -u)" = 0 ] || { echo "netns no: not root"; return; }
  for f in ip nft tc; do
    command -v "$f" >/dev/null || echo "$f no: not installed ($([ $f = nft ] && echo nftables || echo iproute2))"
  done
  command -v ip >/dev/null || return 0
  why=$(ip netns add "$n" 2>&1) || { ip netns del "$n" 2>/dev/null || :; echo "netns no: $(tail -n 1 <<<"$why")"; return; }
  echo "netns yes"
  say veth ip -n "$n" link add p0 type veth peer name p1
  say bridge ip -n "$n" link add br0 type bridge
  ! command -v nft >/dev/null || {
    local chain='add table bridge t; add chain bridge t c { type filter hook forward priority 0; };'
    say loss inside "$n" nft "$chain add rule bridge t c numgen random mod 10 < 1 drop"
    say partition inside "$n" nft "$chain add rule bridge t c iifname { p0 } oifname { p1 } counter drop"
  }
  ! command -v tc >/dev/null || {
    say rate inside "$n" tc qdisc add dev p0 root tbf rate 1mbit burst 32kb latency 50ms
    say delay inside "$n" tc qdisc add dev p1 root netem delay 1ms
  }
  ip netns del "$n"
}

need() { # a feature that a command needs
  local line
  [ -n "$probed" ] || probed=$(probe)
  line=$(sed -n "s/^\($1\|${2:-$1}\) no: //p" <<<"$probed" | head -n 1)
  [ -z "$line" ] || die "$1 is not available here: $line"
}

# ---- up and down ----
find_programs() {
  [ -n "$bin" ] || { [ -x "$here/../../build/maculad" ] && bin=$here/../../build; } || {
    bin=$(command -v maculad) || die "maculad is neither in build/ nor in PATH: build it (./run), or say -b FOLDER"
    bin=$(dirname "$bin")
  }
  [ -x "$bin/maculad" ] || die "there is no maculad in $bin"
  bin=$(cd "$bin" && pwd)
  # Installed, the two lie apart: sbin and bin.
  macula=$bin/macula
  [ -x "$macula" ] || macula=$(command -v macula) || die "there is no macula in $bin"
}

down() {
  trap '' INT TERM
  local n pids tries=0
  for n in $(namespaces); do
    # Whatever runs in a namespace of this mesh was started for it.
    pids=$(ip netns pids "$n" 2>/dev/null || :)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || :
  done
  while [ $tries -lt 80 ] && for n in $(namespaces); do ip netns pids "$n"; done 2>/dev/null | grep -q .; do
    sleep 0.1
    tries=$((tries + 1))
  done
  for n in $(namespaces); do
    pids=$(ip netns pids "$n" 2>/dev/null || :)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || :
    ip netns del "$n" || :
  done
  [ -z "$mesh" ] || rm -rf "${root:?}/$mesh"
  rmdir "$root" 2>/dev/null || :
}

finish() {
  local code=$?
  if [ -n "$building" ]; then
    [ "$building" = complete ] || note "removing what was built of $mesh"
    down
  fi
  exit "$code"
}

add_host() {
  local h=$1 n
  n=$(ns "$h")
  ip netns add "$n"
  ip -n "$(ns sw)" link add "$h" type veth peer name eth0 netns "$n"
  # Without gso_max_segs a burst crosses the link as one packet of 64 KiB, and is lost as one. IPv4 only (addrgenmode): no neighbour
  # and router discovery of the kernel's own among the packets counted.
  ip -n "$n" -batch - <<END
link set lo up
link set eth0 gso_max_segs 1
link set eth0 addrgenmode none
addr add $(address "$h")/24 dev eth0
link set eth0 up
END
  ip -n "$(ns sw)" link set "$h" addrgenmode none master br0 up
}

start_node() { # host, options of maculad
  local h=$1 d=$root/$mesh/$1
  shift
  : >"$d/log"
  setsid nsenter --net="/run/netns/$(ns "$h")" "$bin/maculad" --json --state "$d/state" --name "$h" --listen "$(address "$h"):9443" \
    --access "$root/$mesh/access.yaml" "$@" </dev/null >"$d/log" 2>&1 &
  local tries=0
  until grep -q '^{"event":"ready"' "$d/log"; do
    kill -0 $! 2>/dev/null || { cat "$d/log" >&2; die "$h: maculad ended at once"; }
    [ $tries -lt 200 ] || { cat "$d/log" >&2; die "$h: maculad is not ready after 20 s"; }
    sleep 0.1
    tries=$((tries + 1))
  done
  sed -n 's/^{"event":"ready","id":"\([0-9a-f]\{64\}\)".*/\1/p' "$d/log" >"$d/id"
}

up() { # options of maculad
  local h join=()
  case $count in *[!0-9]* | "") die "-n takes a number" ;; esac
  if [ "$count" -lt 1 ] || [ "$count" -gt 64 ]; then die "-n takes 1 to 64"; fi
  need netns ip
  need veth
  need bridge
  find_programs
  mesh=${prefix:-macula}$$
  if [ -e "$root/$mesh" ] || [ -n "$(namespaces)" ]; then die "$mesh is there already: mesh.sh -m $mesh down"; fi
  building=yes
  mkdir -p "$root/$mesh/bin" "$root/$mesh/c/home"
  echo "$count" >"$root/$mesh/count"
  (umask 077 && "$macula" token new >"$root/$mesh/token" && "$macula" token new >"$root/$mesh/node-token")
  # Who has the token, as host c has, is an operator.
  cat >"$root/$mesh/access.yaml" <<END
grants:
  all: {pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}
tokens:
  - {file: $root/$mesh/node-token, grant: all, role: node}
  - {file: $root/$mesh/token, grant: all, role: operator}
END
  printf '#!/bin/sh\nexec %q --token-file %q "$@"\n' "$macula" "$root/$mesh/token" >"$root/$mesh/bin/macula"
  # For macula load all --partition.
  # shellcheck disable=SC2016
  printf '#!/bin/sh\ncase $1 in cut) exec %q -m %q partition "1 2" "3 4" ;; heal) exec %q -m %q heal ;; esac\n' \
    "$here/mesh.sh" "$mesh" "$here/mesh.sh" "$mesh" >"$root/$mesh/bin/mesh-partition"
  chmod +x "$root/$mesh/bin/macula" "$root/$mesh/bin/mesh-partition"
  ip netns add "$(ns sw)"
  ip -n "$(ns sw)" link add br0 type bridge
  ip -n "$(ns sw)" link set br0 addrgenmode none
  ip -n "$(ns sw)" link set br0 up
  for h in $(nodes) c; do
    mkdir -p "$root/$mesh/$h"
    add_host "$h"
  done
  if command -v nft >/dev/null && in_ns sw nft 'table bridge mesh {
      chain partition { type filter hook forward priority 0; }
      chain loss { type filter hook forward priority 1; }
    }' 2>/dev/null; then :; else note "without nftables for bridges: loss and partition are not available"; fi
  for h in $(nodes); do
    start_node "$h" --advertise "$(address "$h"):9443" "${join[@]}" "$@"
    [ "$h" != h1 ] || join=(--join "$(server h1)")
  done
}

# ---- commands ----
show() {
  local h pid
  echo "mesh $mesh"
  printf '%-5s %-13s %-7s %9s  %s\n' host address node resident id
  for h in $(nodes); do
    pid=$(ip netns pids "$(ns "$h")" | while read -r p; do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != maculad ] || echo "$p"; done | head -n 1)
    printf '%-5s %-13s %-7s %5s MiB  %s\n' "$h" "$(address "$h")" "${pid:-ended}" \
      "$( [ -n "$pid" ] && awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status" || echo 0)" "$(cat "$root/$mesh/$h/id")"
  done
  printf '%-5s %-13s %s\n' c "$(address c)" "clients"
  in_ns sw nft list table bridge mesh 2>/dev/null | sed -n 's/^\t*\(chain [a-z]*\) {/\1/p; s/^\t*\(.*counter.*\)/  \1/p'
  in_ns sw tc qdisc show 2>/dev/null | grep -E 'tbf|netem' || :
}

# Runs a command on a host; a signal reaches it, and its exit code is ours.
run_on() { # host, command
  local h=$1 to=$1 code=0
  shift
  [ "$to" != c ] || to=h1
  trap 'kill -TERM "$child" 2>/dev/null || :' TERM
  trap 'on_interrupt' INT
  (
    trap - INT TERM
    export MACULA_SERVER MACULA_NODES PATH="$root/$mesh/bin:$PATH" XDG_CONFIG_HOME="$root/$mesh/c/home"
    MACULA_SERVER=$(server "$to")
    MACULA_NODES=$(for n in $(nodes); do server "$n"; done | paste -sd,)
    ulimit -n "$(ulimit -Hn)"
    exec nsenter --net="/run/netns/$(ns "$h")" "$@"
  ) <&0 &
  child=$!
  # A wait that a signal interrupts may lose the command's end, and the next one waits for ever: none is interrupted.
  while kill -0 "$child" 2>/dev/null; do sleep 0.1 || :; done
  wait "$child" && code=0 || code=$?
  trap - INT TERM
  return "$code"
}

# Ctrl-C reaches the command from the terminal as well; it may write its report before it is made to end.
on_interrupt() {
  local c=$child
  (
    trap '' INT
    for _ in $(seq 150); do
      kill -0 "$c" 2>/dev/null || exit 0
      sleep 0.1
    done
    kill -TERM "$c" 2>/dev/null
  ) &
}

# For run and load: a mesh of their own when none is up.
mesh_or_own() {
  if find_mesh; then return; fi
  [ -z "$mesh" ] || die "no mesh named $mesh is up"
  up "$@"
}

loss() {
  local ten_thousandths
  need loss nft
  ten_thousandths=$(awk -v p="${1:-}" 'BEGIN { if (p !~ /^[0-9]+(\.[0-9]+)?$/ || p > 100) exit 1; printf "%.0f", p * 100 }') ||
    die "loss takes a percentage from 0 to 100, such as 2.5"
  in_ns sw nft flush chain bridge mesh loss
  case $ten_thousandths in
    0) ;;
    10000) in_ns sw nft add rule bridge mesh loss ether type '{ ip, ip6 }' counter drop ;;
    *) in_ns sw nft add rule bridge mesh loss ether type '{ ip, ip6 }' numgen random mod 10000 '<' "$ten_thousandths" counter drop ;;
  esac
}

set_of() { # "1 2 c" -> { "h1", "h2", "c" }
  local h out=""
  for h in $1; do out="$out, \"$(host "$h")\"" || exit 1; done
  [ -n "$out" ] || die "a group names hosts, such as \"1 2\""
  echo "{ ${out#, } }"
}

# Packets of IP only: with ARP cut one way, the other way would end as well.
partition() {
  local one_way="" i j sets=() rules="" twice
  need partition nft
  [ "${1:-}" != --one-way ] || { one_way=yes; shift; }
  [ $# -ge 2 ] || die "partition takes two groups or more: partition \"1 2\" \"3 4\""
  [ -z "$one_way" ] || [ $# = 2 ] || die "--one-way takes two groups"
  for i in "$@"; do sets+=("$(set_of "$i")"); done
  twice=$(tr -s ' {},"' '\n' <<<"${sets[*]}" | sort | uniq -d | grep . || :)
  [ -z "$twice" ] || die "in more than one group: ${twice//$'\n'/ }"
  for i in "${!sets[@]}"; do
    for j in "${!sets[@]}"; do
      [ "$i" != "$j" ] || continue
      [ -z "$one_way" ] || [ "$i" = 0 ] || continue
      rules="$rules add rule bridge mesh partition iifname ${sets[i]} oifname ${sets[j]} ether type { ip, ip6 } counter drop;"
    done
  done
  in_ns sw nft "flush chain bridge mesh partition; $rules"
}

# A link's limits, on the switch's side of each host's link (what the host receives) and, for the rate, on the host's own.
shape() {
  local d=$root/$mesh h rate=() delay=() parent=(root)
  [ ! -e "$d/rate" ] || { read -ra rate <"$d/rate"; parent=(parent 1:1); }
  [ ! -e "$d/delay" ] || read -ra delay <"$d/delay"
  for h in $(nodes) c; do
    in_ns sw tc qdisc del dev "$h" root 2>/dev/null || :
    in_ns "$h" tc qdisc del dev eth0 root 2>/dev/null || :
    if [ ${#rate[@]} -gt 0 ]; then
      in_ns sw tc qdisc add dev "$h" root handle 1: tbf "${rate[@]}"
      in_ns "$h" tc qdisc add dev eth0 root handle 1: tbf "${rate[@]}"
    fi
    [ ${#delay[@]} = 0 ] || in_ns sw tc qdisc add dev "$h" "${parent[@]}" netem delay "${delay[@]}"
  done
}

rate() {
  need rate tc
  awk -v r="${1:-}" 'BEGIN { exit r !~ /^[0-9]+(\.[0-9]+)?$/ || r > 100000 }' || die "rate takes megabits a second, such as 10"
  # A bucket of 4 ms, as the kernel's timer may need; at most 50 ms wait before packets are dropped.
  awk -v r="$1" 'BEGIN { if (r > 0) { b = r * 500; printf "rate %.0fbit burst %.0f latency 50ms\n", r * 1e6, (b > 16384 ? b : 16384) } }' >"$root/$mesh/rate"
  [ -s "$root/$mesh/rate" ] || rm "$root/$mesh/rate"
  shape
}

delay() {
  need delay tc
  local t
  for t in "${@:-x}"; do case $t in *[!0-9.]* | "") die "delay takes milliseconds, such as 20, or 20 5 with jitter" ;; esac; done
  rm -f "$root/$mesh/delay"
  [ "$1" = 0 ] || echo "$1ms${2:+ $2ms}" >"$root/$mesh/delay"
  shape
}

misused() { echo "mesh: $*; mesh.sh -h lists what there is" >&2; exit 2; }

while getopts :n:m:p:b:o:h-: o; do
  case $o in
    n) count=$OPTARG ;;
    m) mesh=$OPTARG ;;
    p) prefix=$OPTARG ;;
    b) bin=$OPTARG ;;
    o) options+=("$OPTARG") ;;
    h) usage; exit 0 ;;
    -) [ "$OPTARG" != help ] || { usage; exit 0; }; misused "there is no option --$OPTARG" ;;
    :) misused "-$OPTARG needs a value" ;;
    *) misused "there is no option -$OPTARG" ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { usage >&2; exit 2; }
command=$1
shift
case $command in up | down | status | run | load | loss | partition | heal | rate | delay)
  [ "$(id -u)" = 0 ] || die "namespaces need root" ;;
esac
case $mesh$prefix in *[!A-Za-z0-9_]*) die "a name is letters, digits and _" ;; esac
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

case $command in
  up)
    [ "${1:-}" != -- ] || shift
    up "$@"
    : >"$root/$mesh/up"
    building=""
    show
    ;;
  down) need_mesh; down ;;
  status) need_mesh; show ;;
  run)
    on=c
    [ "${1:-}" != --on ] || { on=${2:-}; shift 2 || die "--on needs a host"; }
    [ $# -gt 0 ] || die "run needs a command"
    mesh_or_own
    building=${building:+complete}
    on=$(host "$on")
    run_on "$on" "$@"
    ;;
  load)
    case ${1:-} in
      all) set -- "$@" --partition mesh-partition ;;
      clients | services | streams | callers) ;;
      *) die "load takes all, clients, services, streams or callers: pool, mqtt and soak start nodes of their own, on one host" ;;
    esac
    # As the nodes that macula load starts: the dead are noticed soon, records end soon, and limits can be reached.
    mesh_or_own --idle-timeout 3s --keep-alive 1s --service-ttl 30s --max-clients 1000 --max-services 11000 "${options[@]}"
    building=${building:+complete}
    run_on c macula load "$@" --nodes "$(for n in $(nodes); do server "$n"; done | paste -sd,)"
    ;;
  loss) need_mesh; loss "$@" ;;
  partition) need_mesh; partition "$@" ;;
  heal) need_mesh; need partition nft; in_ns sw nft flush chain bridge mesh partition ;;
  rate) need_mesh; rate "$@" ;;
  delay) need_mesh; delay "$@" ;;
  check) probe ;;
  help) usage ;;
  *) misused "there is no command '$command'" ;;
esac
