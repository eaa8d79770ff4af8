#!/bin/sh
# Fails on an #include arrow between folders that docs/architecture.md does not allow, on a clock or a socket below src/io, and on a
# header that does not compile alone. Run from the project's root; prints one line per violation and ends with the count.
set -u
bad=0
# The node speaks to doors: quic/quic.h is for the QUIC door, and for the files of the node that own the endpoint. All may know an identity and figures.
in_node="access trust membership dht pubsub rpc quic/identity.h quic/stats.h tables wire bounded base"
states="node/flow/state.h node/state.h node/trust/state.h node/session/state.h node/peers/state.h node/messages/state.h node/calls/state.h node/view/state.h node/mesh/state.h"
floor="node/doors/door.h node/memory node/limits.h $states $in_node"
allowed() { # folder, or file where one in a folder differs -> row: the folders and headers that it may include
  row=
  case $1 in
    base) row="base" ;;
    bounded | wire) row="$1 base" ;;
    tables | quic) row="$1 bounded base" ;;
    membership | dht | pubsub | rpc) row="$1 wire tables bounded base" ;;
    # The rooms of the node. A room's state.h declares no function, so that all may include it, and node/state.h with it.
    node/limits.[ch]) row="node/limits.h wire base" ;;
    node/keys.[ch]) row="node/keys.h $states $in_node" ;;
    node/state.h | node/*/state.h) row="node/doors/door.h node/limits.h node/node.h node/memory/rows.h $states $in_node" ;;
    node/memory) row="node/memory node/limits.h node/node.h $states $in_node" ;;
    node/doors/door.h) row="base" ;;
    node/doors/inert.h) row="node/doors/door.h base" ;;
    node/doors/quic.[ch]) row="node/doors $floor quic" ;;
    node/doors/mqtt*.[ch]) row="node/doors node/receive.h node/session node/flow node/node.h $floor mqtt" ;;
    node/doors/http*.[ch]) row="node/doors node/receive.h node/session node/flow node/node.h $floor" ;;
    node/flow) row="node/flow bounded base" ;;
    node/session) row="node/session node/flow $floor" ;;
    node/trust) row="node/trust node/session node/flow $floor" ;;
    node/peers) row="node/peers node/trust node/session node/flow $floor" ;;
    node/messages | node/calls | node/view) row="$1 node/peers node/trust node/session node/flow node/keys.h $floor" ;;
    node/mesh) row="node/mesh node/messages node/calls node/view node/peers node/trust node/session node/flow node/keys.h $floor" ;;
    node/node.c | node/turn.c | node/change.c) row="node node/mesh node/messages node/calls node/view node/peers node/trust node/session node/flow node/doors $floor quic" ;;
    node) row="node node/mesh node/messages node/calls node/view node/peers node/trust node/session node/flow node/doors $floor" ;;
    trust) row="trust wire bounded base" ;;
    access) row="access trust wire bounded base" ;;
    mqtt) row="mqtt wire bounded base" ;;
    io) row="io quic base" ;;
    client) row="client quic trust wire bounded base" ;;
    lib) row="lib client io quic trust wire bounded base" ;;
    daemon/http) row="daemon/http daemon/metrics.h node node/doors/http.h node/doors/http_text.h node/memory node/view access trust wire io bounded base" ;;
    daemon) row="daemon daemon/http node node/memory node/view pubsub/retained_log.h access trust io quic bounded base" ;;
    cli) row="cli" ;;
    load/run.h | load/run.c) row="load/run.h io base" ;;
    load/report) row="load/report load/run.h cli io base" ;;
    load/drive) row="load/drive load/report load/run.h cli node node/memory lib client io quic mqtt wire bounded base" ;;
    load/scenarios) row="load/scenarios load/drive load/report load/run.h cli client io base" ;;
    load) row="load load/scenarios load/drive load/report cli lib io base" ;;
    pass) row="pass cli io access trust wire bounded base" ;;
    macula) row="load/command.h pass/command.h cli daemon/environ.h" ;;
  esac
}
for f in $(find src daemon cli load pass macula -name '*.[ch]' | sort); do
  path=${f#src/}
  from=${path%/*}
  allowed "$path"
  [ -n "$row" ] || allowed "$from"
  [ -n "$row" ] || [ "$f" = src/lib_empty.c ] || { echo "$f: a folder without a row in the table of arrows"; bad=$((bad + 1)); }
  while IFS='"' read -r word inc _; do
    case $word:$inc in '#include :'*/*) ;; *) continue ;; esac # without a folder: its own
    case " $row macula " in *" $inc "* | *" ${inc%/*} "*) ;; *) echo "$f: includes $inc, not an allowed arrow from $from"; bad=$((bad + 1)) ;; esac
  done <"$f"
done

for f in $(find src -name '*.[ch]' | grep -v '^src/io/'); do
  hit=$(sed 's://.*$::; s:/\*.*\*/::' "$f" | grep -nE '\b(clock_gettime|gettimeofday|time|clock|socket|sendto|sendmsg|sendmmsg|recvfrom|recvmsg|recvmmsg)[[:space:]]*\((NULL|CLOCK|&|AF_|0\)|[a-z_]*fd)' | head -n 1)
  if [ -n "$hit" ]; then echo "$f:$hit: clock or socket outside src/io"; bad=$((bad + 1)); fi
done
flags=$(pkg-config --cflags libngtcp2 gnutls libuv jansson)
for f in $(find src include cli load pass -name '*.h'); do
  ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Isrc -Iinclude -I. $flags -x c -fsyntax-only -Wno-pragma-once-outside-header "$f" ||
    { echo "$f: does not compile alone"; bad=$((bad + 1)); }
done
[ "$bad" = 0 ] || { echo "$bad violations"; exit 1; }
