#!/bin/sh
# A name that is not defined is found before the line that uses it runs, which may be once in fifty runs of a test.
# Usage: tools/check_python.sh [FILE or FOLDER...]
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- tests tools bench deploy
exec pyflakes3 "$@"
