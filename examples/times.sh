#!/bin/sh
# A handler for `macula serve`: {"x":7} on its input, 7 times its argument on its output. macula serve calc --exec 'examples/times.sh 2'
x=$(sed -n 's/.*"x" *: *\(-\{0,1\}[0-9][0-9]*\).*/\1/p' | head -n 1)
[ -n "$x" ] || { echo 'give {"x": a whole number}' >&2; exit 1; }
echo $((x * ${1:-1}))
