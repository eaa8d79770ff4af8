#!/bin/sh
# What libmacula's functions and types are, for programs that were built before: compares a build with src/lib/libmacula.abi, which
# libabigail wrote. tools/abi.sh [--write]: --write notes what is there now. Exit code 1: programs would break.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
dump=$root/src/lib/libmacula.abi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The project's own builds have no types in their debug information. Paths are the project's, not this machine's.
meson setup "$work/build" "$root" -Dtests=false -Dbuildtype=debug -Dc_args="-g2 -ffile-prefix-map=$root=." >"$work/log" 2>&1 &&
  meson compile -C "$work/build" macula:shared_library >>"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; exit 1; }
# What the header does not show is left out of both.
abidw --headers-dir "$root/include" --headers-dir ./include --exported-interfaces-only --drop-private-types --no-show-locs --no-corpus-path \
  --no-comp-dir-path --no-elf-needed --type-id-style hash --out-file "$work/dump" "$(ls "$work"/build/src/libmacula.so.*.*.*[0-9])"
if [ "${1:-}" = --write ]; then
  cp "$work/dump" "$dump"
  exit
fi
status=0
abidiff "$dump" "$work/dump" >"$work/diff" || status=$?
[ $status = 0 ] || cat "$work/diff"
[ $((status & 3)) = 0 ] || { echo "abidiff failed" >&2; exit 1; }
[ $((status & 8)) = 0 ] || changed=1
if [ $((status & 4)) != 0 ]; then
  # An addition is a change, too: what it removes or changes stands in the summary.
  grep -q '^Functions changes summary: 0 Removed, 0 Changed[^,]*, ' "$work/diff" || changed=1
  [ -n "${changed:-}" ] || echo "only additions: tools/abi.sh --write notes them"
fi
[ -z "${changed:-}" ] || { echo "programs that were built with it would break; before a version is released, tools/abi.sh --write notes what is there" >&2; exit 1; }
