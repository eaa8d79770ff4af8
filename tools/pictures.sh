#!/bin/sh
# Makes docs/img/page-*.png anew: four nodes with macula demo, and the page in headless Chromium. Needs chromium and npm.
# Usage: tools/pictures.sh BUILD_FOLDER
set -eu
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
pids=""
end() {
  trap - EXIT INT TERM
  for p in $pids; do kill -TERM "$p" 2>/dev/null || true; done
  for p in $pids; do wait "$p" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap end EXIT
trap 'end; exit 1' INT TERM
npm install --no-audit --no-fund --silent --prefix "$dir/npm" puppeteer-core@24
join=""
ready() { sed -n "s/.*\"$2\": *\[\{0,1\}\"\([^\"]*\)\".*/\1/p" "$dir/out$1"; }
for i in 1 2 3 4; do
  name=$(echo hall-1 hall-2 press office | cut -d' ' -f$i)
  # shellcheck disable=SC2086
  "$build/maculad" --json --listen 127.0.0.1:0 --http 127.0.0.1:0 --mqtt off --name "$name" --state "$dir/s$i" $join >"$dir/out$i" 2>"$dir/log$i" &
  pids="$pids $!"
  until grep -q '"ready"' "$dir/out$i"; do sleep 0.1; done
  join="--join $(ready 1 listen)"
done
for i in 1 2 3; do
  "$build/macula" -s "$(ready $i listen)" --insecure demo --under "site$i" >/dev/null 2>&1 &
  pids="$pids $!"
done
NODE_PATH="$dir/npm/node_modules" node - "http://$(ready 1 http)" "$root/docs/img" <<'JS'
const puppeteer = require('puppeteer-core')
const { execFileSync } = require('child_process')
const [url, out] = process.argv.slice(2)
const chromium = execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser']).toString().trim()
const pause = s => new Promise(resolve => setTimeout(resolve, s * 1000))
async function main() {
  const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })
  const page = async (theme, width, height) => {
    const p = await browser.newPage()
    await p.setViewport({ width, height })
    await p.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }])
    await p.goto(url, { waitUntil: 'domcontentloaded' })
    return p
  }
  const light = await page('light', 1200, 720)
  await pause(40) // so that there are lines to see
  for (const view of ['now', 'memory', 'mesh']) {
    await light.evaluate(v => { location.hash = '#/' + v }, view)
    await pause(8)
    await light.screenshot({ path: out + '/page-' + view + '.png' })
  }
  const dark = await page('dark', 1200, 720)
  await dark.evaluate(() => { location.hash = '#/topics' })
  await pause(12)
  await dark.screenshot({ path: out + '/page-topics.png' })
  const phone = await page('light', 360, 720)
  await pause(10)
  await phone.screenshot({ path: out + '/page-phone.png' })
  await browser.close()
}
main().catch(e => { console.error(e); process.exit(1) })
JS
ls -l "$root"/docs/img/page-*.png
