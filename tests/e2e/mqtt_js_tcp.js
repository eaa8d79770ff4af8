/* mqtt.js over TCP against a node: mqtt_js_tcp.js PORT. Prints "ok", or what went wrong. */
const mqtt = require('mqtt')
const url = 'mqtt://127.0.0.1:' + process.argv[2]
const mine = m => JSON.stringify(m)

function must(what, is, want) {
  if (mine(is) !== mine(want)) throw new Error(what + ': ' + mine(is).slice(0, 300) + ' instead of ' + mine(want).slice(0, 300))
}

/* A client, with what comes in a list that can be waited for. */
async function join(name, more) {
  const c = mqtt.connect(url, { clientId: name, reconnectPeriod: 0, ...more })
  c.got = []
  c.wake = () => {}
  c.on('message', (topic, payload, packet) => { c.got.push([topic, payload.toString(), packet.qos, packet.retain]); c.wake() })
  c.ack = await new Promise((resolve, reject) => { c.once('connect', resolve); c.once('error', reject) })
  c.on('error', e => { c.wrong = e; c.wake() })
  return c
}

async function next(c, count) {
  while (c.got.length < count && !c.wrong) await new Promise(resolve => { c.wake = resolve })
  if (c.wrong) throw c.wrong
  return c.got.splice(0, count)
}

async function version(v) {
  const name = 'js' + v
  const a = await join(name + 'a', { protocolVersion: v }), b = await join(name + 'b', { protocolVersion: v })
  must('granted', (await b.subscribeAsync({ 'j/+/temp': { qos: 0 }, 'j/#': { qos: 2 } })).map(g => g.qos), [0, 2])
  for (const qos of [0, 1, 2]) await a.publishAsync('j/x', 'q' + qos, { qos })
  must('j/x', await next(b, 3), [0, 1, 2].map(q => ['j/x', 'q' + q, q, false]))
  await a.publishAsync('j/kitchen/temp', '21', { qos: 1 })
  must('two filters', (await next(b, 1))[0].slice(0, 3), ['j/kitchen/temp', '21', 1])
  /* mqtt.js does not look at the Receive Maximum, and sends all at once: 1,000 of each QoS */
  await Promise.all(Array.from({ length: 2000 }, (_, k) => a.publishAsync('j/many', '' + k, { qos: 1 + k % 2 })))
  must('j/many', (await next(b, 2000)).map(m => +m[1]).sort((x, y) => x - y), Array.from({ length: 2000 }, (_, i) => i))
  const large = 'z'.repeat(900000)
  await a.publishAsync('j/large', large, { qos: 1 })
  must('j/large', (await next(b, 1))[0][1].length, large.length)

  await a.publishAsync('kept/' + name, 'here', { qos: 1, retain: true })
  await b.subscribeAsync('kept/' + name, { qos: 1 })
  must('retained', await next(b, 1), [['kept/' + name, 'here', 1, true]])
  await a.publishAsync('kept/' + name, '', { qos: 1, retain: true })
  must('cleared', await next(b, 1), [['kept/' + name, '', 1, false]])

  if (v === 5) {
    await b.subscribeAsync({ 'live/+': { qos: 1, rap: true }, 'live/x': { qos: 1 } })
    await a.publishAsync('live/x', 'as published', { qos: 1, retain: true })
    await a.publishAsync('live/x', '', { qos: 1, retain: true })
    must('retain as published', (await next(b, 2)).map(m => m[3]), [true, true])
  }

  const keep = v === 5 ? { clean: false, properties: { sessionExpiryInterval: 600 } } : { clean: false }
  let d = await join(name + 'd', { protocolVersion: v, ...keep, will: { topic: 'j/will', payload: 'gone', qos: 1 } })
  must('new', d.ack.sessionPresent, false)
  await d.subscribeAsync('away/' + name, { qos: 1 })
  d.stream.destroy()
  must('will', await next(b, 1), [['j/will', 'gone', 1, false]])
  await a.publishAsync('away/' + name, 'waited', { qos: 2 })
  d = await join(name + 'd', { protocolVersion: v, ...keep })
  must('present', d.ack.sessionPresent, true)
  must('waited', await next(d, 1), [['away/' + name, 'waited', 1, false]])
  await d.endAsync()
  await b.unsubscribeAsync(['j/#', 'j/+/temp', 'kept/' + name])
  await a.publishAsync('j/x', 'nobody', { qos: 1 })
  const bad = await a.publishAsync('$SYS/broker/uptime', 'x', { qos: 1 }).then(() => 'taken', e => 'refused ' + e.code)
  must('$SYS', bad, v === 5 ? 'refused 135' : 'taken') /* 3.1.1 has no word for it */
  must('left', b.got, [])
  await a.endAsync()
  await b.endAsync()
}

version(4).then(() => version(5)).then(() => console.log('ok'), e => { console.log('failed: ' + e); process.exit(1) })
