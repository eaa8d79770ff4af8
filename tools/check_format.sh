#!/bin/sh
# clang-format is the only authority on layout. Version 14 (Debian 12's) decides; another version is not asked.
command -v clang-format >/dev/null || { echo "clang-format is missing"; exit 1; }
clang-format --version | grep -q 'version 14\.' || exit 0
find src include daemon cli load macula tests fuzz examples -name '*.[ch]' -o -name '*.cpp' | xargs clang-format --dry-run -Werror 2>&1 | head -n 20 | grep . && exit 1
exit 0
