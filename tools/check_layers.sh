#!/bin/sh
# Fails on an #include arrow between folders that docs/architecture.md does not allow, on a clock or a socket below src/io, and on a
# header that does not compile alone. Run from the project's root; prints one line per violation and ends with the count.
set -u
bad=0
allowed() { # folder -> folders that it may include
  case $1 in
    base) echo "base" ;;
    bounded | wire) echo "$1 base" ;;
    tables | quic) echo "$1 bounded base" ;;
    membership | dht | pubsub | rpc) echo "$1 wire tables bounded base" ;;
    node) echo "node membership dht pubsub rpc quic tables wire bounded base" ;;
    io) echo "io quic base" ;;
    client) echo "client quic wire bounded base" ;;
    lib) echo "lib client io quic wire bounded base" ;;
  esac
}
check() { # folder, directory, allowed folders
  for f in "$2"/*.c "$2"/*.h; do
    [ -e "$f" ] || continue
    for inc in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$f" | sort -u); do
      case " $3 macula " in *" $inc "*) ;; *) echo "$f: includes $inc/, not an allowed arrow from $1"; bad=$((bad + 1)) ;; esac
    done
  done
}
for d in src/*/; do
  n=$(basename "$d")
  a=$(allowed "$n")
  [ -n "$a" ] || { echo "$d: a folder without a row in the table of arrows"; bad=$((bad + 1)); }
  check "$n" "src/$n" "$a"
done
check daemon daemon "node io quic base"
check cli cli "$(ls -d src/*/ | xargs -n1 basename | tr '\n' ' ')"
for f in cli/*.c cli/*.h; do # only load reaches below the library
  if grep -qE '^#include "(base|bounded|wire|tables|quic|membership|dht|pubsub|rpc|node|io|client|lib)/' "$f"; then echo "$f: includes src/"; bad=$((bad + 1)); fi
done
for f in $(grep -lE '^#include "\.\./' src/*/*.[ch] daemon/*.[ch] cli/*.[ch]); do # one file is both programs'
  if grep -E '^#include "\.\./' "$f" | grep -v '^#include "../daemon/environ.h"$'; then echo "$f: includes its neighbours"; bad=$((bad + 1)); fi
done

for f in $(ls src/*/*.c src/*/*.h | grep -v '^src/io/'); do
  hit=$(sed 's://.*$::; s:/\*.*\*/::' "$f" | grep -nE '\b(clock_gettime|gettimeofday|time|clock|socket|sendto|sendmsg|sendmmsg|recvfrom|recvmsg|recvmmsg)[[:space:]]*\((NULL|CLOCK|&|AF_|0\)|[a-z_]*fd)' | head -n 1)
  if [ -n "$hit" ]; then echo "$f:$hit: clock or socket outside src/io"; bad=$((bad + 1)); fi
done
for f in src/*/*.h include/macula/*.h; do
  ${CC:-cc} -std=gnu17 -D_GNU_SOURCE -Isrc -Iinclude $(pkg-config --cflags libngtcp2 gnutls libuv) -x c -fsyntax-only -Wno-pragma-once-outside-header "$f" ||
    { echo "$f: does not compile alone"; bad=$((bad + 1)); }
done
[ "$bad" = 0 ] || { echo "$bad violations"; exit 1; }
