#!/bin/sh
# A handler for `macula serve`: {"a":2,"b":3} on its input, their sum on its output. macula serve math.add --exec examples/add.sh
json=$(cat)
of() { printf '%s' "$json" | sed -n "s/.*\"$1\" *: *\(-\{0,1\}[0-9][0-9]*\).*/\1/p" | head -n 1; }
a=$(of a) b=$(of b)
if [ -z "$a" ] || [ -z "$b" ]; then
  echo 'give {"a": a whole number, "b": a whole number}' >&2
  exit 1
fi
echo $((a + b))
