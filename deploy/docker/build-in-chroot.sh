#!/bin/bash
# Runs the lines of the Dockerfile in folders made by debootstrap, then the image's entry point and health check, without Docker.
# Needs root and debootstrap. Usage: build-in-chroot.sh [FOLDER]; the image is then FOLDER/image (default: a new one under /var/tmp).
# $DEBIAN_MIRROR: the mirror to take packages from (debootstrap's own unless set).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "build-in-chroot: needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "build-in-chroot: debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
work=${1:-$(mktemp -d /var/tmp/macula-image.XXXXXX)}
mkdir -p "$work"
work=$(cd "$work" && pwd)

stage=""     # folder of the stage that is being built
user=root
dir=/
vars=()      # NAME=VALUE of ENV
net=()       # --net: without the machine's network
entry=""     # JSON list of ENTRYPOINT
health=""    # shell command of HEALTHCHECK

say() { echo "build-in-chroot: $*" >&2; }
die() { say "$*"; exit 1; }

# Words of a JSON list of strings without escapes.
words() { sed 's/^\[//; s/\]$//; s/", *"/\n/g; s/^ *"//; s/" *$//' <<<"$1"; }

# In a process and mount namespace of its own, so that nothing it starts and no mount of it outlives it.
inside() { # user, command
  local u=$1
  shift
  # shellcheck disable=SC2016
  env -i "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "${vars[@]}" \
    unshare --pid --fork --kill-child --mount "${net[@]}" sh -c '
      [ "$4" = "" ] || ip link set lo up
      mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"
      root=$1 dir=$2 user=$3; shift 4
      exec chroot --userspec="$user" --groups="" "$root" sh -c "cd \"\$1\" && shift && exec \"\$@\"" sh "$dir" "$@"' sh "$stage" "$dir" "$u" "${net[*]}" "$@"
}

from() { # base [AS name]
  local release=${1#debian:}
  case $1 in debian:*-slim) release=${release%-slim} ;; *) die "FROM $1: only debian:RELEASE-slim is known here" ;; esac
  if [ ! -e "$work/base-$release/.complete" ]; then
    say "debootstrap $release"
    rm -rf "$work/base-$release"
    # shellcheck disable=SC2086
    debootstrap --variant=minbase "$release" "$work/base-$release" ${DEBIAN_MIRROR:-} >"$work/debootstrap.log" 2>&1 ||
      die "debootstrap failed: $work/debootstrap.log"
    # Docker's image names its mirror in this form, and has no packages cached.
    local uri
    uri=$(sed -n 's/^deb \([^ ]*\) .*/\1/p' "$work/base-$release/etc/apt/sources.list" | head -n 1)
    rm "$work/base-$release/etc/apt/sources.list"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$uri" "$release" \
      >"$work/base-$release/etc/apt/sources.list.d/debian.sources"
    rm -f "$work/base-$release"/var/cache/apt/archives/*.deb
    touch "$work/base-$release/.complete"
  fi
  stage=$work/${3:-image}
  user=root dir=/ vars=() entry="" health=""
  rm -rf "$stage"
  cp -a "$work/base-$release" "$stage"
  rm "$stage/.complete"
  cp /etc/resolv.conf /etc/hosts "$stage/etc/"
}

copy() { # [--from=STAGE] [--chmod=MODE] SOURCE... TARGET
  local base=$root mode="" s
  while :; do
    case $1 in
      --from=*) base=$work/${1#*=} ;;
      --chmod=*) mode=${1#*=} ;;
      --*) die "COPY $1 is not known here" ;;
      *) break ;;
    esac
    shift
  done
  local to=${*: -1}
  case $to in /*) ;; *) to=$dir/$to ;; esac
  case $to in */) mkdir -p "$stage$to" ;; esac
  for s in "${@:1:$#-1}"; do
    if [ -d "$base/$s" ]; then
      mkdir -p "$stage$to"
      cp -a --no-preserve=ownership "$base/$s/." "$stage$to"
    else
      mkdir -p "$(dirname "$stage$to")"
      cp --no-preserve=ownership "$base/$s" "$stage$to"
      [ -z "$mode" ] || chmod "$mode" "$stage$to$(case $to in */) basename "$s" ;; esac)"
    fi
  done
}

# Lines that end in \ continue; comment lines are none.
while read -r instruction rest; do
  say "$instruction ${rest:0:100}"
  # shellcheck disable=SC2086
  case $instruction in
    FROM) from $rest ;;
    COPY) copy $rest ;;
    RUN) inside "$user" sh -c "$rest" ;;
    WORKDIR) dir=$rest; mkdir -p "$stage$dir" ;;
    USER) user=$rest ;;
    ENV) for v in $rest; do vars+=("$v"); done ;;
    ENTRYPOINT) entry=$rest ;;
    HEALTHCHECK) health=${rest#*CMD } ;;
    VOLUME | EXPOSE) ;;
    *) die "$instruction is not known here" ;;
  esac
done < <(sed '/^ *#/d' "$here/Dockerfile" | sed -e ':a' -e '/\\$/{N;s/\\\n */ /;ba}' | grep .)
if [ -z "$entry" ] || [ -z "$health" ]; then die "the Dockerfile has no ENTRYPOINT or no HEALTHCHECK"; fi

# The image runs: the entry point as its user, in a network of its own, the health check beside it.
[ "$(stat -c %u "$stage/var/lib/macula")" != 0 ] || die "/var/lib/macula belongs to root"
mapfile -t entry_words < <(words "$entry")
cat >"$stage/tmp/try" <<'END'
"$@" >/tmp/log 2>&1 &
node=$!
n=0
until eval "$HEALTH"; do
  n=$((n + 1))
  [ $n -lt 40 ] && kill -0 $node || { cat /tmp/log; echo "not healthy"; exit 1; }
  sleep 0.25
done
macula --token-file /tmp/token status || exit 1
echo "user $(id -un)"
kill -TERM $node
wait $node
echo "exit $?"
END
vars+=("NODE_TYPE=registry" "ACCESS_FOLDER=/tmp" "HEALTH=$health")
net=(--net)
out=$(inside "$user" sh /tmp/try "${entry_words[@]}" 2>&1) || { echo "$out" >&2; die "the image does not run"; }
rm "$stage"/tmp/{try,log,token,node-token,access.yaml}
echo "$out"
grep -q '^user macula$' <<<"$out" || die "does not run as the user macula"
grep -q '^exit 0$' <<<"$out" || die "does not end with 0 on SIGTERM"
du -sh "$stage" | sed 's/^\([^\t]*\).*/image \1/'
echo "ok $stage"
