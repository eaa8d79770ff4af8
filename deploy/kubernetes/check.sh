#!/bin/sh
# Checks the manifests without a cluster. Needs node and npm (packages from the npm registry); maculad in ../../build if it is there.
# 1. Kubernetes' own OpenAPI schemas, as the package kubernetes-models carries them: required fields, types, formats, and, by the
#    TypeScript compiler, fields that do not exist. 2. That names agree: selectors, volumes, ports, config maps, secrets, services.
# 3. The node's configuration by `maculad --check`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${XDG_CACHE_HOME:-$HOME/.cache}/macula-kubernetes-check
mkdir -p "$work"
cd "$work"
[ -d node_modules/kubernetes-models ] || {
  echo '{"private": true, "type": "module"}' >package.json
  npm install --no-audit --no-fund --silent kubernetes-models@5.1.0 typescript@5 yaml@2 >npm.log 2>&1 || { cat npm.log >&2; exit 1; }
}
cp "$here/check.mjs" .
node check.mjs "$here"/macula.yaml "$here"/token-secret.yaml "$here"/load-job.yaml

maculad=$here/../../build/maculad
[ -x "$maculad" ] || { echo "no build/maculad: the node's configuration is not checked"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# The pod's paths, here.
for file in maculad.yaml access.yaml; do
  sed "s#/etc/macula-token/#$tmp/#; s#/etc/macula/#$tmp/#; s#/var/lib/macula/node#$tmp/state#" $file >"$tmp/$file"
done
(umask 077 && for t in node operator client; do echo "a-token-for-this-check-only-$t" >"$tmp/$t"; done)
"$maculad" -c "$tmp/maculad.yaml" --check
