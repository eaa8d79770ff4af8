#!/bin/sh
# clang-format is the only authority on layout. Version 14 (Debian 12's) decides; what others see otherwise in the same sources is left out:
# short functions that return a struct, and what macros stand for.
command -v clang-format >/dev/null || { echo "clang-format is missing"; exit 1; }
other='^struct .*\) \{$|^  return .*;$|^#define |^  \{ .* \}$'
if clang-format --version | grep -q 'version 14\.'; then other='^$'; fi
bad=$(find src include daemon cli load pass macula tests fuzz examples bench -name '*.[ch]' -o -name '*.cpp' | xargs clang-format --dry-run -Werror 2>&1 |
  OTHER=$other awk '/: error: code should be clang-formatted/ { at = $0; getline line; getline; if (line !~ ENVIRON["OTHER"]) print at "\n" line; next } { print }' |
  head -n 20)
[ -z "$bad" ] || { echo "$bad"; exit 1; }
