// Compares npm's mqtt-packet with src/mqtt: node mqtt_oracle.js MQTT-ORACLE SEED COUNT, with NODE_PATH where mqtt-packet is.
// What we encode, it must read, and what it makes of that, we must read and encode to the same bytes as before.
const { spawnSync } = require('child_process')
const mqtt = require('mqtt-packet')
const [oracle, seed, count] = process.argv.slice(2)

function run (args, input) {
  const p = spawnSync(oracle, args, { input, maxBuffer: 1 << 28, encoding: 'utf8' })
  if (p.status !== 0) throw new Error('mqtt-oracle: ' + p.status + ' ' + p.stderr)
  return p.stdout.trimEnd().split('\n')
}
function parse (level, hex) {
  const parser = mqtt.parser({ protocolVersion: level })
  let packet = null
  parser.on('packet', p => { packet = p })
  parser.on('error', e => { throw e })
  const left = parser.parse(Buffer.from(hex, 'hex'))
  if (!packet || left) throw new Error('not one packet')
  return packet
}
const plain = v => JSON.stringify(v, (k, x) => k === 'length' ? undefined : x)

let failed = 0
const kinds = {}
// Where it is narrower than the standard: a password needs no user name (3.1.2.9); a DISCONNECT may say 0x8C (2.4).
const narrower = ['Username is required to use password', 'Invalid disconnect reason code']
const fail = (line, why) => { if (failed++ < 10) console.log('FAIL seed ' + seed + ': ' + line + ': ' + why) }
const made = run(['make', seed, count])
const theirs = []
for (const line of made) {
  const level = +line[0]
  try {
    const p = parse(level, line.slice(4))
    kinds[p.cmd] = (kinds[p.cmd] || 0) + 1
    const bytes = mqtt.generate(p, { protocolVersion: level })
    theirs.push({ line, p, level, hex: bytes.toString('hex') })
  } catch (e) {
    if (!narrower.includes(e.message)) fail(line, e.message)
  }
}
const ours = run(['again'], theirs.map(t => t.line.slice(0, 4) + t.hex + '\n').join(''))
theirs.forEach((t, i) => {
  try {
    if (ours[i] === t.line.slice(4)) return
    // It spells some packets longer than needed; then at least what they say is the same.
    const a = plain(parse(t.level, t.hex)); const b = plain(parse(t.level, ours[i]))
    if (a !== b) fail(t.line, 'of ' + t.hex + ' came ' + ours[i])
  } catch (e) {
    fail(t.line, 'of ' + t.hex + ' came ' + ours[i] + ': ' + e.message)
  }
})
if (Object.keys(kinds).length !== 15) fail('all', 'only ' + Object.keys(kinds).join(' '))
process.exit(failed ? 1 : 0)
