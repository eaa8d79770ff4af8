#!/bin/sh
# Installs what building (and, with "test", testing) Macula needs, or with "run" just the libraries that the built programs load,
# if anything is missing; "full": what ./test --full needs beside "test"; "deb": what tools/deb.sh needs. Debian packages only.
# Usage: tools/deps.sh [build|test|full|deb|run], or tools/deps.sh list ..., which only prints their names.
set -eu
list=""
if [ "${1:-}" = list ]; then
  list=yes
  shift
fi

codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
# Since Debian 13 libraries of 64-bit times have another name, and the runtimes of clang a package without its version.
case $codename in
  bookworm) t64="" rt=libclang-rt-14-dev ;;
  *) t64=t64 rt=libclang-rt-dev ;;
esac
build="gcc libc6-dev pkg-config meson ninja-build libngtcp2-dev libngtcp2-crypto-gnutls-dev libgnutls28-dev nettle-dev libuv1-dev
libjansson-dev libcyaml-dev libyaml-dev libmicrohttpd-dev libsystemd-dev libjemalloc-dev curl"
test="g++ libcmocka-dev libmsgpack-dev libwslay-dev clang $rt clang-format git iproute2 nftables zsh
python3 python3-cryptography python3-paho-mqtt mosquitto-clients pyflakes3 golang-go golang-github-lucas-clemente-quic-go-dev"
run="libngtcp2-16 libngtcp2-crypto-gnutls8 libgnutls30$t64 libnettle8$t64 libhogweed6$t64 libuv1$t64 libjansson4 libcyaml1 libmicrohttpd12$t64 libsystemd0 libjemalloc2"
want=$build
ngtcp2="libngtcp2-dev libngtcp2-crypto-gnutls-dev"
case ${1:-build} in
  test) want="$build $test" ;;
  full) want="$build $test chromium firefox-esr debootstrap debian-archive-keyring piuparts abigail-tools mandoc" ;;
  deb) want="$build build-essential debhelper" ;;
  run)
    want=$run
    ngtcp2="libngtcp2-16 libngtcp2-crypto-gnutls8"
    ;;
esac

if [ -n "$list" ]; then
  printf '%s\n' $want
  exit 0
fi

need_backports() {
  v=$(dpkg-query -W -f '${Version}' "${ngtcp2%% *}" 2>/dev/null || true)
  [ -z "$v" ] || dpkg --compare-versions "$v" lt 1.11
}

missing=""
for p in $want; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
done
if need_backports; then missing="$missing $ngtcp2"; fi
[ -n "$missing" ] || exit 0

if [ ! -r /etc/debian_version ]; then
  echo "macula: not a Debian system: install these yourself, then run again:$missing" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "macula: these are missing:$missing. Have root run: $(readlink -f "$0") ${1:-build}" >&2; exit 1; }
  sudo=sudo
fi
echo "macula: installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
target=""
if need_backports && [ "$codename" = bookworm ]; then
  # Debian 12 carries ngtcp2 0.12; 1.11 is in backports, on the mirror that this machine uses already.
  if ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; then
    uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | grep -v security | head -n 1)
    [ -n "$uri" ] || uri=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) bookworm main.*/\2/p' /etc/apt/sources.list | head -n 1)
    [ -n "$uri" ] || { echo "macula: no Debian mirror found in /etc/apt: add bookworm-backports yourself" >&2; exit 1; }
    echo "deb $uri bookworm-backports main" | $sudo tee /etc/apt/sources.list.d/macula-backports.list >/dev/null
  fi
  target="-t bookworm-backports"
fi
$sudo apt-get update -qq
if [ -n "$target" ]; then
  # shellcheck disable=SC2086
  $sudo apt-get install -y -qq --no-install-recommends $target $ngtcp2 >/dev/null
fi
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
