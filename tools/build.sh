#!/bin/sh
# Configures and builds: tools/build.sh FOLDER [Meson options]. Quiet unless something fails; progress on a terminal.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$root/$1
shift
log=$(mktemp)
# What root builds in another's checkout is that one's, else the next build of its own would fail.
finish() {
  rm -f "$log"
  if [ "$(id -u)" = 0 ] && [ -d "$dir" ] && [ "$(stat -c %u "$root")" != 0 ]; then chown -R --reference="$root" "$dir"; fi
}
trap finish EXIT
if [ -d "$dir" ] && [ ! -w "$dir" ]; then
  echo "macula: $dir belongs to another user: remove it, or have it given to you, and try again" >&2
  exit 1
fi
if [ -f "$dir/meson-private/coredata.dat" ]; then # else a first try may have failed half-way
  # Files are listed when Meson configures, so it configures each time: half a second.
  meson setup --reconfigure "$@" "$dir" "$root" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
else
  echo "macula: building (about a minute the first time)" >&2
  # Where this is missing Meson installs to lib64, in which neither Debian's pkg-config nor its loader looks.
  if [ -r /etc/debian_version ] && ! command -v dpkg-architecture >/dev/null; then set -- -Dlibdir=lib "$@"; fi
  meson setup "$@" "$dir" "$root" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
if [ -t 2 ]; then
  ninja -C "$dir" >&2
else
  ninja -C "$dir" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
