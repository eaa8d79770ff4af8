#!/bin/sh
# The lists of limits in the manual and in the example are what maculad prints of its rows: tools/check_limits.sh BUILD_FOLDER [write].
# They stand between two lines that say so; "write" puts them there.
new=$(mktemp)
trap 'rm -f "$new"' EXIT
bad=0
for pair in man:man/maculad.yaml.5 example:docs/maculad.example.yaml; do
  form=${pair%%:*} file=${pair#*:}
  list=$("$1/maculad" "--print-$form") && [ "$list" ] || exit 1
  LIST=$list awk '/tools\/check_limits.sh/ {print; print ENVIRON["LIST"]; inside = 1} /end of the list/ {inside = 0; found = 1}
    !inside && !/tools\/check_limits.sh/ {print} END {exit !found}' "$file" >"$new" || exit 1
  if [ "$2" = write ]; then
    cat "$new" >"$file"
  elif ! diff -u "$file" "$new"; then
    echo "$file lists other limits than src/node/limits.h: tools/check_limits.sh $1 write"
    bad=1
  fi
done
exit $bad
