/* Clients: however many there are, only what is seen is asked for and drawn. A search, or an order, reads all of them once. */
import * as api from './api.js';
import {button, el, empty, panel, say, segmented, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {List} from './list.js';
import {MOST_ASKED, model} from './model.js';

const PAGE = 64; /* rows of an answer at most */
const PAGES = 60; /* that are kept */
const MOST = 20000; /* rows that a search reads */
const FRESH_MS = 3000;
const ORDERS = {
  queue: (a, b) => b.queued_bytes - a.queued_bytes || b.queued_messages - a.queued_messages,
  dropped: (a, b) => b.dropped - a.dropped,
  memory: (a, b) => b.memory_bytes - a.memory_bytes,
};
const COLUMNS = [['Client', 'c-name'], ['Door', 'c-door'], ['Address', 'c-address'], ['Subscriptions', 'c-subs right'], ['Queue', 'c-queue right'],
  ['Dropped', 'c-dropped right'], ['Memory', 'c-memory right'], ['For', 'c-since right']];

const narrow = matchMedia('(max-width: 760px)');
const nameOf = c => c.name || fmt.id(c.id) || fmt.id(c.instance);
const lower = c => [c.name, c.id, c.instance, c.address, c.door, c.protocol, c.user, c.grant].join('\n').toLowerCase();

export default function (page) {
  let parts = []; /* [{node, total}], one after the other */
  let cache = new Map(); /* "node page" -> {rows, at}, the one used last at the end */
  let words = '';
  let order = '';
  let found = null; /* rows, when all were read */
  let reading = null;
  let readAt = 0;
  let timer = 0;
  let failure = null;
  const asked = new Set();

  const search = el('input', {type: 'search', class: 'input search', placeholder: 'Name, id, address, user, door', 'aria-label': 'Search clients', maxlength: 120, autocomplete: 'off', spellcheck: 'false',
    on: {input: () => {
      clearTimeout(timer);
      timer = setTimeout(() => pick(search.value, order), 250);
    }}});
  const pickOrder = segmented('Order', [['', 'As listed'], ['queue', 'Queue'], ['dropped', 'Dropped'], ['memory', 'Memory']], order, v => pick(words, v));
  const state = el('span', {class: 'quiet', role: 'status'});
  const again = button('Read again', () => readAll(), {kind: 'small'});
  const header = el('div', {class: 'list-head', role: 'row'}, COLUMNS.map(([t, k]) => el('span', {role: 'columnheader', class: k, text: t})));
  const list = new List({label: 'Clients', header: el('div', {class: 'list-heads', role: 'rowgroup'}, header), height: () => (narrow.matches ? 64 : 40), make, fill, open: i => detail(i), moved: () => fetchSeen()});
  const none = empty('No clients', 'Nobody is connected to this node.');
  const root = el('div', {class: 'view clients fills'},
    panel('Clients', {kind: 'fills', note: state, tools: [search, pickOrder, again], id: 'h-clients'}, none, list.root));
  narrow.addEventListener('change', () => list.draw());

  function make() {
    const cells = COLUMNS.map(([, k]) => el('span', {role: 'gridcell', class: k}));
    const dot = el('i', {class: 'dot'});
    const name = el('span', {class: 'name'});
    const sub = el('span', {class: 'quiet small-only'});
    cells[0].append(dot, name, sub);
    const row = el('div', {role: 'row'}, cells);
    row.parts = {cells, dot, name, sub};
    return row;
  }

  function fill(row, i) {
    const c = rowAt(i);
    const {cells, dot, name, sub} = row.parts;
    row.classList.toggle('pending', !c);
    set(dot, 'class', 'dot ' + (!c ? 'idle' : !c.connected ? 'idle' : c.dropped || c.queued_bytes > 1 << 18 ? 'warn' : 'good'));
    say(name, c ? fmt.cut(nameOf(c), 80) : '…');
    say(sub, c ? c.door + ' · ' + (c.queued_bytes ? fmt.bytes(c.queued_bytes) + ' wait' : 'nothing waits') + (c.dropped ? ' · ' + fmt.short(c.dropped) + ' dropped' : '') + (parts.length > 1 ? ' · ' + fmt.cut(model.label(c.node), 16) : '') : '');
    say(cells[1], c ? c.door + ' ' + c.protocol : '');
    say(cells[2], c ? c.address + (parts.length > 1 ? ' at ' + fmt.cut(model.label(c.node), 16) : '') : '');
    say(cells[3], c ? fmt.count(c.subscriptions) : '');
    say(cells[4], c ? (c.queued_bytes || c.queued_messages ? fmt.bytes(c.queued_bytes) : '0') : '');
    say(cells[5], c ? fmt.count(c.dropped) : '');
    cells[5].classList.toggle('loud', !!(c && c.dropped));
    say(cells[6], c ? fmt.bytes(c.memory_bytes) : '');
    say(cells[7], c ? fmt.duration(c.since_s) : '');
  }

  /* The row at this place, if it was read. */
  function rowAt(i) {
    if (found) return found[i];
    for (const p of parts) {
      if (i < p.total) {
        const page = cache.get(p.node.id + ' ' + Math.floor(i / PAGE));
        return page && page.rows[i % PAGE];
      }
      i -= p.total;
    }
    return undefined;
  }

  /* Asks for the pages that are on the screen, if they are not fresh. */
  function fetchSeen() {
    if (found || reading || !parts.length) return;
    const [from, to] = list.seen();
    let base = 0;
    for (const p of parts) {
      const first = Math.max(0, Math.floor((from - base) / PAGE));
      const last = Math.min(Math.floor((to - 1 - base) / PAGE), Math.floor((p.total - 1) / PAGE));
      for (let k = first; k <= last; k++) fetchPage(p, k);
      base += p.total;
    }
  }

  async function fetchPage(p, k) {
    const key = p.node.id + ' ' + k;
    const have = cache.get(key);
    if (asked.has(key) || (have && Date.now() - have.at < FRESH_MS) || asked.size > 6) return;
    asked.add(key);
    try {
      const j = await api.get('/api/clients', model.query(p.node, {offset: k * PAGE, limit: PAGE}));
      if (!root.isConnected) return;
      for (const c of j.clients) c.node = p.node.id;
      cache.delete(key);
      cache.set(key, {rows: j.clients, at: Date.now()});
      if (cache.size > PAGES) cache.delete(cache.keys().next().value);
      p.total = j.total;
      p.read = true;
      failure = null;
    } catch (e) {
      failure = e;
    } finally {
      asked.delete(key);
    }
    count();
  }

  /* How many there are, from the nodes' state; the pages correct it. */
  function count() {
    const before = new Map(parts.map(p => [p.node.id, p]));
    parts = model.answering().map(n => {
      const p = before.get(n.id) || {node: n, total: 0, read: false};
      if (!p.read) p.total = n.status.clients.count;
      return p;
    });
    const total = found ? found.length : parts.reduce((n, p) => n + p.total, 0);
    show(none, !total && !reading);
    say(none.children[0], words ? 'No client of this name' : 'No clients');
    say(none.children[1], words ? 'Nothing of what was read has this in its name, id, address, user or door.' : 'Nobody is connected.');
    show(list.root, total > 0);
    show(again, !!found && !reading);
    list.setTotal(total);
    if (reading) say(state, 'Reading ' + fmt.count(reading.done) + ' of ' + fmt.count(reading.total) + ' …');
    else if (failure) say(state, failure.message);
    else if (found) say(state, fmt.count(total) + ' found, as of ' + fmt.clock(readAt) + (reading === null && found.cut ? '; the first ' + fmt.count(MOST) + ' were read' : ''));
    else say(state, fmt.plural(total, 'client') + (parts.length > 1 ? ' of ' + parts.length + ' nodes' : ''));
    fetchSeen();
  }

  function pick(text, by) {
    words = text.trim().toLowerCase();
    order = by;
    if (!words && !order) {
      found = null;
      if (reading) reading.abort.abort();
      reading = null;
      list.root.scrollTop = 0;
      count();
    } else if (everything && Date.now() - readAt < 30000) narrowDown();
    else readAll();
  }

  let everything = null;
  async function readAll() {
    if (reading) reading.abort.abort();
    const r = (reading = {done: 0, total: parts.reduce((n, p) => n + p.total, 0), abort: new AbortController()});
    const rows = [];
    count();
    try {
      for (const p of parts.slice(0, MOST_ASKED)) {
        for (let at = 0, total = 1; at < total && rows.length < MOST; ) {
          const j = await api.get('/api/clients', model.query(p.node, {offset: at, limit: PAGE}), {signal: r.abort.signal});
          if (reading !== r) return;
          for (const c of j.clients) {
            c.node = p.node.id;
            c.text = lower(c);
            rows.push(c);
          }
          total = j.total;
          at += j.clients.length || total;
          r.done = rows.length;
          r.total = Math.max(r.total, r.done);
          say(state, 'Reading ' + fmt.count(r.done) + ' of ' + fmt.count(r.total) + ' …');
        }
      }
      failure = null;
    } catch (e) {
      if (e.kind === 'aborted' || reading !== r) return;
      failure = e;
    }
    reading = null;
    everything = rows;
    everything.cut = rows.length >= MOST;
    readAt = Date.now();
    narrowDown();
  }

  function narrowDown() {
    const seen = new Set();
    found = everything.filter(c => {
      const key = c.node + c.instance + c.id; /* one that moved to another page while they were read */
      if (seen.has(key)) return false;
      seen.add(key);
      return !words || c.text.includes(words);
    });
    if (order) found.sort(ORDERS[order]);
    found.cut = everything.cut;
    list.root.scrollTop = 0;
    count();
  }

  /* ---- one client ---- */
  function detail(i) {
    const c = rowAt(i);
    if (!c) return;
    const pairs = [
      ['Id', c.id], ['Instance', c.instance], ['Name', c.name || '–'], ['Node', model.label(c.node)], ['Door', c.door + ', ' + c.protocol], ['Address', c.address],
      ['Role', c.role + (c.grant ? ', grant ' + c.grant : '')], ['User', c.user || '–'], ['Key', c.verified ? 'proved' : 'none shown'],
      ['Connected', c.connected ? 'for ' + fmt.duration(c.since_s) : 'no, its session is kept'], ['Subscriptions', fmt.count(c.subscriptions)], ['Services', fmt.count(c.services)],
      ['Calls under way', fmt.count(c.pending_calls)], ['In flight', fmt.count(c.inflight)], ['Queue', fmt.bytes(c.queued_bytes) + (c.queued_messages ? ', ' + fmt.plural(c.queued_messages, 'message') : '')],
      ['Dropped', fmt.count(c.dropped)], ['Memory', fmt.bytes(c.memory_bytes) + ', at most ' + fmt.bytes(c.memory_peak_bytes)],
    ];
    const said = el('p', {class: 'quiet', role: 'status'});
    const end = button('End this client', null, {kind: 'danger'});
    let sure = false;
    end.addEventListener('click', async () => {
      if (!sure) {
        sure = true;
        say(end, 'End it: press once more');
        say(said, 'Its connection is closed. It may connect again at once, if its grant lets it.');
        return;
      }
      end.disabled = true;
      say(said, 'Asking the node …');
      try {
        const id = /^0*$/.test(c.id) ? c.instance : c.id;
        await api.post('/api/end', {client: id, ...(c.node === model.home.id ? {} : {node: c.node})});
        say(said, 'It was ended.');
        cache = new Map();
        everything = null;
        model.soon();
      } catch (e) {
        end.disabled = false;
        sure = false;
        say(end, 'End this client');
        say(said, e.kind === 'missing' && !e.code ? 'This node cannot end clients over HTTP: use macula clients end.' : e.message);
      }
    });
    const body = el('div');
    body.append(el('dl', {class: 'pairs'}, pairs.map(([k, v]) => el('div', {}, el('dt', {text: k}), el('dd', {class: k === 'Id' || k === 'Instance' ? 'mono wrap' : 'wrap', text: fmt.cut(v, 300)})))));
    body.append(el('div', {class: 'actions'}, end, said));
    page.drawer(fmt.cut(nameOf(c), 60), body, list.root);
  }

  return {
    root, title: 'Clients', update: count,
    scoped() {
      parts = [];
      cache = new Map();
      everything = found = null;
      if (reading) reading.abort.abort();
      reading = null;
      if (words || order) {
        count();
        readAll();
      } else count();
    },
    leave() {
      if (reading) reading.abort.abort();
      reading = null;
      clearTimeout(timer);
      cache = new Map();
      everything = found = null;
      words = order = '';
      search.value = '';
      pickOrder.pick('');
    },
  };
}
