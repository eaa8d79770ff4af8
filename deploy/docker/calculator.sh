#!/bin/sh
# test.calculator: {"x": N} on stdin, N times PROVIDER_MULTIPLIER on stdout. x is 1 unless given.
x=$(sed -n 's/.*"x"[[:space:]]*:[[:space:]]*\(-\{0,1\}[0-9][0-9.]*\).*/\1/p')
awk -v x="${x:-1}" -v m="${PROVIDER_MULTIPLIER:-1}" -v p="${NODE_NAME:-provider}" -v t="$(date +%s)" \
  'BEGIN { printf "{\"provider\":\"%s\",\"result\":%.15g,\"timestamp\":%d}\n", p, x * m, t }'
