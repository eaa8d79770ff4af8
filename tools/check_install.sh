#!/bin/sh
# Installs the library to a temporary folder and compiles the C and the C++ example against it with pkg-config alone.
set -eu
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
case $1 in # a sanitized library wants the same of its users
  *asan*) sanitized="-fsanitize=address,undefined" ;;
  *tsan*) sanitized="-fsanitize=thread" ;;
  *) sanitized="" ;;
esac
DESTDIR=$dest meson install -C "$1" --quiet --no-rebuild
pc=$(dirname "$(find "$dest" -name macula.pc)")
prefix=$dest/usr/local
pkg-config --variable pc_path pkg-config | tr : '\n' | grep -qxF "${pc#"$dest"}" || { echo "pkg-config does not look into ${pc#"$dest"}"; exit 1; }
PKG_CONFIG_PATH=$pc
export PKG_CONFIG_PATH
flags=$(pkg-config --define-variable=prefix="$prefix" --cflags --libs macula)
flags="$flags $sanitized"
# shellcheck disable=SC2086
cc -std=c11 -Wall -Wextra -Werror -pedantic -o "$dest/a" examples/pubsub.c $flags
# shellcheck disable=SC2086
c++ -std=c++17 -Wall -Wextra -Werror -o "$dest/b" examples/rpc.cpp $flags
ls "$prefix/include/macula" | tr '\n' ' ' | grep -qx 'error.h macula.h ' || { echo "other headers than macula.h and error.h are installed"; exit 1; }
printf '#include <macula/macula.h>\nint end(macula_client c, macula_service s) { return macula_unsubscribe(c, s); }\n' > "$dest/c.c"
# shellcheck disable=SC2086
! cc -std=c11 -c -o "$dest/c.o" "$dest/c.c" $flags 2> "$dest/c.txt" || { echo "a service compiles as a subscription"; exit 1; }
grep -q 'incompatible type' "$dest/c.txt" || { cat "$dest/c.txt"; exit 1; }
cat > "$dest/d.cc" <<'END'
#include <macula/macula.h>
static_assert(macula_options{}.size == sizeof(macula_options) && macula_serve_options{}.size == sizeof(macula_serve_options), "");
int main() {
  macula_loop *loop;
  macula_loop_options o{};
  o.embedded = true;
  int err = macula_loop_new(&o, &loop);
  if (!err) macula_loop_free(loop);
  return err;
}
END
# shellcheck disable=SC2086
c++ -std=c++17 -Wall -Wextra -Werror -pedantic -o "$dest/d" "$dest/d.cc" $flags
LD_LIBRARY_PATH=${pc%/*} "$dest/d" || { echo "C++: a size is not set by the declaration alone"; exit 1; }
