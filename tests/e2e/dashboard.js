/* Plays what a person does with the page at / and looks at what is seen: dashboard.js JSON, called by dashboard.py. Prints "ok", or
 * "failed: " and what is wrong. Nothing here is judged by how long it takes. */
const puppeteer = require('puppeteer-core')
const axe = require('axe-core').source

const DEADLINE = Number(process.env.PAGE_DEADLINE_MS || 280000)
const asked = JSON.parse(process.argv[2])
const VIEWS = ['now', 'memory', 'mesh', 'clients', 'topics', 'services', 'events']
const SIZES = [[1280, 800], [360, 740]]

function check(good, what) {
  if (!good) throw new Error(what)
}

async function opened(browser, url, options = {}) {
  const page = await browser.newPage()
  page.setDefaultTimeout(DEADLINE)
  page.wrong = []
  page.on('pageerror', e => page.wrong.push(String(e.message || e)))
  page.on('console', m => {
    if (m.type() === 'error' && !/Failed to load resource|NetworkError|ERR_/.test(m.text())) page.wrong.push(m.text())
  })
  if (options.size) await page.setViewport({ width: options.size[0], height: options.size[1] })
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  return page
}

/* Waits until this is true in the page; what: for the failure. */
async function until(page, what, f, ...args) {
  try {
    return await page.waitForFunction(f, { timeout: DEADLINE, polling: 100 }, ...args)
  } catch (e) {
    const seen = await page.evaluate(() => document.body.innerText.slice(0, 600)).catch(() => '?')
    throw new Error('not seen: ' + what + ': ' + e.message + ' ' + page.wrong.join(' | ') + ' -- ' + seen)
  }
}

const has = (page, text) => until(page, text, t => document.body.innerText.includes(t), text)

/* A view, by its link. */
async function go(page, view) {
  await page.evaluate(v => [...document.querySelectorAll('nav a')].find(a => a.getAttribute('href').startsWith('#/' + v)).click(), view)
  await until(page, view, v => document.querySelector('.view.' + v), view)
}

/* What each view shows of a mesh of four under load. */
const SHOWN = {
  now: () => /\d/.test(document.querySelector('.tile-value').textContent) && document.querySelector('.chart path.line').getAttribute('d') && /All 4 nodes/.test(document.querySelector('.chooser').selectedOptions[0].text),
  memory: () => document.querySelectorAll('.memory-rows tbody tr').length > 20 && /of [\d.]+ [KMG]iB/.test(document.querySelector('.memory-rows').textContent),
  mesh: () => document.querySelectorAll('.mesh-node').length === 4 && document.querySelectorAll('.mesh-links line').length === 6 && /ms|µs/.test(document.querySelector('.mesh table').textContent),
  clients: () => document.querySelectorAll('.clients .list-row:not([hidden]):not(.pending)').length >= 8,
  topics: () => /plant\.hall-1\.temp/.test(document.querySelector('.busiest').textContent),
  services: () => /math\.add/.test(document.querySelector('.services .list').textContent),
  events: () => /member up/.test(document.querySelector('.events').textContent),
}

async function accessible(page, what) {
  if (!await page.evaluate(() => !!window.axe)) await page.evaluate(axe)
  await until(page, 'that nothing moves', () => !document.getAnimations().some(a => a.playState === 'running'))
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] })
    .then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + n.failureSummary.replace(/\s+/g, ' ').slice(0, 200)).join('; '))))
  check(!found.length, what + ': axe: ' + found.join(' | '))
}

async function fits(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  check(over <= 0, what + ': wider than the screen by ' + over)
}

const cases = {
  async views(browser, url) {
    for (const size of SIZES) {
      const page = await opened(browser, url, { size })
      for (const theme of ['light', 'dark']) {
        const is = () => document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')
        await until(page, 'the frame', () => document.querySelector('.frame'))
        if (await page.evaluate(is) !== theme) await page.evaluate(() => document.querySelector('.top button[aria-label*="theme"]').click())
        check(await page.evaluate(is) === theme, 'the switch does not lead to ' + theme)
        const light = await page.evaluate(() => getComputedStyle(document.querySelector('.top')).backgroundColor.match(/\d+/g).slice(0, 3).every(c => Number(c) > 128))
        check(light === (theme === 'light'), theme + ' does not look so')
        for (const view of VIEWS) {
          await go(page, view)
          await until(page, view + ' of four nodes', SHOWN[view])
          await fits(page, view + ' ' + theme + ' ' + size)
          await accessible(page, view + ' ' + theme + ' ' + size)
        }
      }
      await go(page, 'clients')
      await until(page, 'rows', SHOWN.clients)
      await page.evaluate(() => document.querySelector('.clients .list-row').click())
      await until(page, 'one client', () => document.querySelector('dialog[open] dl') && /Queue/.test(document.querySelector('dialog').innerText))
      await accessible(page, 'one client')
      await page.evaluate(() => document.querySelector('dialog[open] header button').click())
      /* one node instead of all */
      await page.select('.chooser', await page.evaluate(() => [...document.querySelectorAll('.chooser option')].find(o => /hall-2/.test(o.text)).value))
      await until(page, 'the clients of one node', () => /^\d+ clients?$/.test(document.querySelector('.clients .panel-head .quiet').textContent) && /node=/.test(location.hash))
      check(!page.wrong.length, page.wrong.join(' | '))
      await page.close()
    }
  },

  async keyboard(browser, url) {
    const page = await opened(browser, url, { size: SIZES[0] })
    await until(page, 'figures', SHOWN.now)
    const focused = () => page.evaluate(() => (document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || '').trim())
    const reach = async what => {
      for (let i = 0; i < 40; i++) {
        if ((await focused()).startsWith(what)) return
        await page.keyboard.press('Tab')
      }
      throw new Error('Tab does not lead to ' + what + ', but to ' + await focused())
    }
    await page.keyboard.press('Tab')
    check(await focused() === 'Skip to the content', 'the first stop is ' + await focused())
    const outlined = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
    check(outlined !== 'none', 'the focus is not seen')
    for (const view of VIEWS) {
      await page.evaluate(() => document.activeElement.blur())
      await reach(view[0].toUpperCase() + view.slice(1))
      await page.keyboard.press('Enter')
      await until(page, view, v => document.querySelector('.view.' + v), view)
      await until(page, view, SHOWN[view])
    }
    await page.evaluate(() => document.activeElement.blur())
    await reach('Clients')
    await page.keyboard.press('Enter')
    await until(page, 'rows', SHOWN.clients)
    await page.evaluate(() => document.querySelector('.clients .search').focus())
    await reach('Clients')
    check(await page.evaluate(() => document.activeElement.getAttribute('role')) === 'grid', 'the list has no focus')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowDown')
    await until(page, 'the third row', () => /-2$/.test(document.activeElement.getAttribute('aria-activedescendant')))
    const name = await page.evaluate(() => document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).querySelector('.name').textContent)
    await page.keyboard.press('Enter')
    await until(page, 'that client', n => document.querySelector('dialog[open] h2') && document.querySelector('dialog[open] h2').textContent === n, name)
    await page.keyboard.press('Escape')
    await until(page, 'the list again', () => !document.querySelector('dialog[open]') && document.activeElement.getAttribute('role') === 'grid')
    await page.evaluate(() => document.activeElement.blur())
    await reach('Change to the')
    const before = await focused()
    await page.keyboard.press('Enter')
    check(await focused() !== before, 'the theme does not change')
    check(!page.wrong.length, page.wrong.join(' | '))
  },

  async dies(browser, url) {
    const page = await opened(browser, url, { size: SIZES[0] })
    await until(page, 'figures of four', SHOWN.now)
    await until(page, 'all of them', () => !document.querySelector('.notice'))
    console.log('looking')
    await until(page, 'that one does not answer, or is dead', n => [...document.querySelectorAll('.now .notice')].some(p => p.textContent.includes(n)) || [...document.querySelectorAll('.chooser option')].some(o => o.text.includes(n) && /dead/.test(o.text)), asked.other)
    await go(page, 'mesh')
    await until(page, 'it in the picture', n => [...document.querySelectorAll('.mesh-node')].some(g => g.getAttribute('aria-label').startsWith(n) && /warn|bad/.test(g.getAttribute('class'))), asked.other)
    await go(page, 'now')
    console.log('other gone')
    await until(page, 'that the node is gone', () => { const b = document.querySelector('.banner'); return b && !b.hidden && /does not answer/.test(b.textContent) })
    check(await page.evaluate(() => /\d/.test(document.querySelector('.tile-value').textContent)), 'what it said last is not shown')
    console.log('gone')
    await until(page, 'that it is back', () => document.querySelector('.banner').hidden && /healthy|trouble/.test(document.querySelector('.health').textContent))
    await until(page, 'figures again', () => /\/s/.test(document.querySelector('.tile-value').textContent))
    check(!page.wrong.length, page.wrong.join(' | '))
  },

  async login(browser, url) {
    const page = await opened(browser, url + '/#login=spent-0123456789', { size: SIZES[1] })
    await has(page, 'This link does not work')
    check(!(await page.evaluate(() => location.href)).includes('spent'), 'the link stays in the address')
    await accessible(page, 'the login')
    await fits(page, 'the login')
    const enter = async password => {
      await page.evaluate(() => { document.getElementById('login-user').value = 'ann'; document.getElementById('login-password').value = '' })
      await page.type('#login-password', password)
      await page.keyboard.press('Enter')
    }
    await enter('wrong')
    await has(page, 'The name or the password is wrong.')
    await enter('right')
    await until(page, 'figures', () => /\d/.test((document.querySelector('.tile-value') || {}).textContent))
    console.log('in')
    await has(page, 'Your login has expired')
    await page.goto('about:blank')
    await page.goto(url + '/#login=once-0123456789', { waitUntil: 'domcontentloaded' })
    await until(page, 'figures', () => /\d/.test((document.querySelector('.tile-value') || {}).textContent))
    check(await page.evaluate(() => location.hash) === '#/now', 'the link stays in the address')
    await page.evaluate(() => document.querySelector('button[aria-label="Log out"]').click())
    await has(page, 'You have logged out')
    check(!page.wrong.length, page.wrong.join(' | '))
  },

  async hostile(browser, url) {
    const page = await opened(browser, url, { size: SIZES[0] })
    const clean = async what => {
      const bad = await page.evaluate(() => {
        const odd = document.body.querySelector('img, script, iframe, object, embed, link, style, [onerror], [onload], [onclick], [src]')
        return window.hacked || (odd && odd.outerHTML.slice(0, 200)) || ''
      })
      check(!bad, what + ' became markup: ' + bad)
    }
    const start = asked.name.slice(0, 12)
    const seen = async (what, where) => {
      await until(page, what, (w, s) => [...document.querySelectorAll(w)].some(e => e.textContent.includes(s)), where, start)
      await clean(what)
    }
    await page.evaluate(() => { window.hacked = 0 })
    await seen('the name of the node', '.chooser option')
    for (const [view, where] of [['now', 'title'], ['memory', 'title'], ['mesh', '.mesh-detail'], ['clients', '.clients .name'], ['topics', '.topic-name'], ['services', '.services .name'], ['events', '.event']]) {
      await go(page, view)
      await seen(view, where)
      await accessible(page, view + ' with hostile names')
      await fits(page, view)
    }
    await seen('in an attribute of the picture', 'title')
    await go(page, 'mesh')
    await until(page, 'an attribute', s => document.querySelector('.mesh-node').getAttribute('aria-label').includes(s), start)
    const detail = async (view, row, what) => {
      await go(page, view)
      await until(page, view, r => document.querySelector(r), row)
      await page.evaluate(r => document.querySelector(r).closest('.list-row').click(), row)
      await seen(what, 'dialog[open]')
    }
    await detail('clients', '.clients .list-row:not(.pending) .name', 'a client')
    for (let i = 0; i < 2; i++) await page.evaluate(() => document.querySelector('dialog .danger').click())
    await seen('an error', 'dialog[open] .actions')
    await page.keyboard.press('Escape')
    await go(page, 'topics')
    await until(page, 'its value', s => [...document.querySelectorAll('.topic-value')].some(e => e.textContent.includes(s)), start)
    await clean('a value')
    await page.evaluate(s => [...document.querySelectorAll('.topic-value')].find(e => e.textContent.includes(s)).closest('.list-row').click(), start)
    await seen('a topic', 'dialog[open]')
    await page.keyboard.press('Escape')
    await detail('services', '.services .list-row .name', 'a service')
    await until(page, 'its form', s => [...document.querySelectorAll('dialog form label')].some(e => e.textContent.includes(s)), start)
    await page.evaluate(() => document.querySelector('dialog form .primary').click())
    await until(page, 'its result', s => document.querySelector('dialog .result') && document.querySelector('dialog .result').textContent.includes(s), start)
    await clean('a result')
    await accessible(page, 'a service')
    check(!page.wrong.length, page.wrong.join(' | '))
  },

  async many(browser, url) {
    const page = await opened(browser, url + '/#/clients', { size: SIZES[0] })
    const rows = () => page.evaluate(() => document.querySelectorAll('.clients .list-row').length)
    await until(page, 'the first rows', () => /device-00000/.test(document.querySelector('.clients .list').textContent) && /10,000 clients/.test(document.querySelector('.clients').innerText))
    check(await rows() < 120, 'all rows are in the document')
    for (const to of ['End', 'Home', 'PageDown']) {
      await page.focus('.clients .list')
      await page.keyboard.press(to)
      const name = { End: 'device-09999', Home: 'device-00000', PageDown: 'device-00015' }[to]
      await until(page, name, n => document.querySelector('.clients .list').textContent.includes(n), name)
    }
    for (let at = 0; at < 20; at++) await page.evaluate(k => { document.querySelector('.clients .list').scrollTop = k * 20000 }, at)
    await until(page, 'the row where it stopped', () => /device-095\d\d/.test(document.querySelector('.clients .list').textContent))
    check(await rows() < 120, 'rows stay in the document')
    await page.type('.clients .search', 'device-07777')
    await until(page, 'the one that was searched', () => /^1 found/.test(document.querySelector('.clients .panel-head .quiet').textContent) && /device-07777/.test(document.querySelector('.clients .list').textContent))
    check(!page.wrong.length, page.wrong.join(' | '))
  },

  async long(browser, url) {
    const page = await opened(browser, url + '/#/topics', { size: SIZES[0] })
    const size = () => page.evaluate(() => document.querySelectorAll('*').length)
    await until(page, 'the topics', () => /[\d.]+ k heard/.test(document.body.innerText) && document.querySelectorAll('.topics .list-row').length > 10)
    const first = await size()
    await until(page, 'what the node left out', () => /77 were left out by the node/.test(document.body.innerText))
    check(/4,000 names/.test(await page.evaluate(() => document.querySelector('.figures-line').textContent)), 'the tree has more than 4,000 names')
    check(await size() < first + 300, 'the document grows: ' + first + ', ' + await size())
    await go(page, 'events')
    await until(page, '500 events', () => /the last 500 are kept/.test(document.body.innerText))
    const then = await size()
    const newest = () => document.querySelector('.events li time').getAttribute('datetime')
    const before = await page.evaluate(newest)
    await until(page, 'newer events', b => document.querySelector('.events li time').getAttribute('datetime') !== b, before)
    check(await page.evaluate(() => document.querySelectorAll('.events li').length) === 500, 'not 500 events are kept')
    check(await size() < then + 300, 'the document grows with events')
    check(!page.wrong.length, page.wrong.join(' | '))
  }
}

async function play() {
  const chrome = asked.browser === 'chrome'
  const browser = await puppeteer.launch({
    browser: asked.browser, executablePath: asked.program, headless: true, userDataDir: chrome ? asked.profile : undefined, timeout: DEADLINE, protocolTimeout: DEADLINE,
    args: chrome ? ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking'] : []
  })
  try {
    await cases[asked.case](browser, asked.url)
    return 'ok'
  } catch (e) {
    return 'failed: ' + String(e.stack || e).replace(/\s+/g, ' ').slice(0, 1400)
  } finally {
    await Promise.race([browser.close(), new Promise(resolve => setTimeout(resolve, 5000))]).catch(() => {})
  }
}

play().then(text => {
  console.log(text)
  process.exit(0)
}, e => {
  console.log('failed: ' + String(e.stack || e).replace(/\s+/g, ' '))
  process.exit(1)
})
