#!/bin/sh
# Builds the Debian packages of this machine's release and their source package: tools/deb.sh [FOLDER] (default: build-deb). Installs
# what building needs. The same sources give the same bytes, whatever folder they lie in: versions and times are those of debian/changelog.
# The version ends in ~deb12, ~deb13, ..., so that each release has its own.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/build-deb}
case $out in /*) ;; *) out=$PWD/$out ;; esac
[ -r /etc/debian_version ] || { echo "deb: not a Debian system" >&2; exit 1; }
"$root/tools/deps.sh" deb
# shellcheck source=/dev/null
. /etc/os-release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir "$work/macula"
# What git knows of, and what is new; without git all but what is built.
if [ "$(git -C "$root" rev-parse --show-toplevel 2>/dev/null)" = "$root" ]; then
  (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar -c --null --no-recursion --ignore-failed-read -T - 2>/dev/null) |
    tar -x -C "$work/macula" --no-same-permissions
else
  tar -c -C "$root" --exclude=./.git --exclude='./build' --exclude='./build-*' --exclude=__pycache__ . | tar -x -C "$work/macula" --no-same-permissions
fi
cd "$work/macula"
# Each release has a version of its own, as it has its own bytes.
sed -i "1s/(\(.*\)) [^;]*;/(\1~deb${VERSION_ID:-$VERSION_CODENAME}) ${VERSION_CODENAME:-unstable};/" debian/changelog
if ! DEB_BUILD_OPTIONS="parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage -us -uc >"$work/log" 2>&1; then
  tail -n 60 "$work/log" >&2
  exit 1
fi
mkdir -p "$out"
rm -f "$work/log"
rm -rf "$work/macula"
cp "$work"/* "$out/"
(cd "$work" && ls -- *.deb) >&2
