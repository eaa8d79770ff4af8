/* What mqtt.js does over WebSocket, in Node and in a page: scenario(mqtt, url, options, name) resolves to "ok", or to what went wrong.
 * In Node: mqtt_js.js URL NAME. In a page: ?url=URL&name=NAME, and what came of it is sent to /result. */
async function scenario(mqtt, url, options, name) {
  for (const version of [4, 5]) {
    const client = await mqtt.connectAsync(url, { ...options, protocolVersion: version, clientId: name + version, reconnectPeriod: 0 }, false)
    const lost = new Promise(resolve => client.once('close', resolve))
    const wrong = await Promise.race([messages(client, name), lost.then(() => 'the connection was lost')])
    if (wrong) return 'version ' + version + ': ' + wrong
    await client.endAsync()
    await lost
  }
  return 'ok'
}

/* Returns what is wrong; else nothing. */
async function messages(client, name) {
  const long = 'x'.repeat(200000)
  const got = []
  let wake = () => {}
  client.on('message', (topic, payload) => { got.push(topic + '=' + payload.toString()); wake() })
  const granted = await client.subscribeAsync(name + '/#', { qos: 1 })
  if (granted[0].qos !== 1) return 'granted ' + JSON.stringify(granted)
  for (const qos of [0, 1, 2]) await client.publishAsync(name + '/' + qos, 'hello' + qos, { qos })
  await client.publishAsync(name + '/long', long, { qos: 1 })
  /* mqtt.js does not look at the Receive Maximum, and sends all at once */
  await Promise.all(Array.from({ length: 1500 }, (_, k) => client.publishAsync(name + '/many', '' + k, { qos: 1 })))
  await client.publishAsync(name + '/last', 'last', { qos: 1 })
  while (!got.includes(name + '/last=last')) await new Promise(resolve => { wake = resolve })
  const expected = [0, 1, 2].map(q => name + '/' + q + '=hello' + q)
  expected.push(name + '/long=' + long)
  for (let i = 0; i < 1500; i++) expected.push(name + '/many=' + i)
  expected.push(name + '/last=last')
  if (JSON.stringify(got) !== JSON.stringify(expected)) return 'got ' + got.map(m => m.slice(0, 40)).join(' ').slice(0, 500)
}

if (typeof window === 'undefined') {
  scenario(require('mqtt'), process.argv[2], { rejectUnauthorized: false }, process.argv[3])
    .then(console.log, e => console.log('failed: ' + e))
} else {
  window.onerror = text => { fetch('/result', { method: 'POST', body: 'error: ' + text }) }
  const asked = new URLSearchParams(location.search)
  scenario(mqtt, asked.get('url'), { reconnectPeriod: 0 }, asked.get('name'))
    .catch(e => 'failed: ' + e)
    .then(text => fetch('/result', { method: 'POST', body: text }))
}
