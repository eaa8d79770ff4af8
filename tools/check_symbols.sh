#!/bin/sh
# The shared library exports exactly the list in src/lib/symbols.txt: tools/check_symbols.sh BUILD_FOLDER.
have=$(mktemp)
trap 'rm -f "$have"' EXIT
nm -D --defined-only "$1/src/libmacula.so" | awk '$2 ~ /[TDBR]/ {print $3}' | grep -v '^_\|^__' | LC_ALL=C sort >"$have"
LC_ALL=C sort src/lib/symbols.txt | diff - "$have" && exit 0
echo "libmacula.so exports other symbols (>) than src/lib/symbols.txt names (<)"
exit 1
