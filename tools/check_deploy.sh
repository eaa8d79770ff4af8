#!/bin/sh
# The image has every folder that is built. The memory that deploy/ gives a node: memory_max is what `maculad --plan` comes to, rounded up to whole GiB, and the limit of the
# container or unit an eighth more.
# Usage: tools/check_deploy.sh BUILD_FOLDER
set -eu
cd "$(dirname "$0")/.."
plan=$("$1/maculad" --plan | sed -n 's/^total \([0-9]*\) MiB$/\1/p')
gib=$(((plan + 1023) / 1024))
limit=$((gib * 1152))
bad=0
want() { # file, what must stand there
  grep -q -- "$2" "deploy/$1" || { echo "deploy/$1: '$2' is missing: the plan is $plan MiB, so memory_max is ${gib}GiB and the limit ${limit} MiB"; bad=1; }
}
want systemd/maculad.service "^Environment=MACULA_MEMORY_MAX=auto:${gib}GiB\$"
want systemd/maculad.service "^MemoryMax=${limit}M\$"
want docker/docker-compose.multi-node-test.yml "MACULA_MEMORY_MAX: ${gib}GiB "
want docker/docker-compose.multi-node-test.yml "mem_limit: ${limit}m "
want kubernetes/macula.yaml "memory_max: ${gib}GiB "
want kubernetes/macula.yaml "limits: {memory: ${limit}Mi}"
for folder in $(sed -n "s/^subdir('\([a-z]*\)').*/\1/p; s/.*executable('[a-z]*', '\([a-z]*\)\/.*/\1/p" meson.build); do
  grep -qx "COPY $folder $folder" deploy/docker/Dockerfile || { echo "deploy/docker/Dockerfile: 'COPY $folder $folder' is missing"; bad=1; }
done
exit $bad
