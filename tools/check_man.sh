#!/bin/sh
# The manual pages are what mandoc takes without a warning, and name each other as they are. Without mandoc the first is not judged.
cd "$(dirname "$0")/../man" || exit 1
bad=0
if command -v mandoc >/dev/null; then
  said=$(mandoc -Tlint -W warning ./*.[158]) || bad=1
  [ -z "$said" ] || echo "$said"
else
  echo "not judged: there is no mandoc"
fi
for page in ./*.[158]; do
  name=$(basename "$page")
  for other in $(sed -n 's/^\.BR \(macula[a-z\\.-]*\) *(\([158]\)).*/\1.\2/p' "$page" | tr -d '\\'); do
    [ -e "$other" ] || { echo "$name: there is no $other"; bad=1; }
  done
done
exit $bad
