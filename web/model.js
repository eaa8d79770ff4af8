/* What is known of the mesh: the node that serves this page (`home`), the others that it knows, and of those that are looked at (`scope`)
 * their state every few seconds, with the last six minutes and the last hour of it in rings. */
import * as api from './api.js';
import {Rings, sum} from './ring.js';

const STEP_MS = 2000;
const SHORT = 180; /* samples: six minutes */
const LONG_MS = 20000;
const LONG = 180; /* an hour */
const MOST_NODES = 256; /* that are listed; */
const MOST_ASKED = 64; /* of whose state is asked when all are looked at */
const MINUTE_MS = 10000; /* how often the last minute is asked for */
const AGAIN_MS = 10000; /* a node that was silent */

class NodeState {
  constructor(id, home) {
    this.id = id;
    this.home = home;
    this.name = '';
    this.state = home ? 'this node' : 'known';
    this.status = null;
    this.error = null;
    this.at = 0;
    this.asked = 0;
    this.rates = {};
    this.short = new Rings(SHORT);
    this.long = new Rings(LONG);
    this.past = 'unknown'; /* of the node's own history: unknown, asked, had, none */
  }

  get label() {
    return this.name || this.id.slice(0, 8);
  }
}

const MOMENT = 1; /* a sample's least time, in s */
const refusedOf = s => s.memory.rows.reduce((n, r) => n + r.refused, 0);

function counters(s) {
  const c = {
    published: s.messages.published, delivered: s.messages.delivered, dropped: s.messages.dropped,
    slow_consumers: s.messages.slow_consumers, refused: refusedOf(s),
  };
  if (s.calls) {
    c.calls = s.calls.calls;
    c.call_failures = s.calls.failed;
  }
  if (s.turns) {
    c.turns = s.turns.count;
    c.late = s.turns.over_5_ms;
  }
  return c;
}

/* Where p of the counts lie below, within buckets of these upper bounds. */
export function quantile(bounds, counts, p) {
  const all = counts.reduce((a, b) => a + b, 0);
  if (!all) return NaN;
  let left = all * p;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] >= left && counts[i] > 0) {
      const low = i ? bounds[i - 1] : 0;
      const high = i < bounds.length ? bounds[i] : bounds[bounds.length - 1] * 2;
      return low + ((high - low) * left) / counts[i];
    }
    left -= counts[i];
  }
  return bounds[bounds.length - 1];
}

const lately = (now, before) => now.map((v, i) => v - (before ? before[i] : 0));

/* A ring of what a node's history says of the time before `first`, and then of what this page has seen. */
function splice(seen, h, first, step, cap) {
  const ring = new Rings(cap);
  let last = 0;
  h.times.forEach((t, i) => {
    const ms = t * 1000;
    if (ms >= first - step / 2 || ms - last < step * 0.9) return;
    const v = {};
    for (const name in h.series) {
      const x = h.series[name][i];
      if (typeof x === 'number') v[name] = x;
    }
    ring.push(ms, v);
    last = ms;
  });
  for (let i = 0; i < seen.count; i++) {
    const v = {};
    for (const [name, of] of seen.series) v[name] = of[seen.at(i)];
    ring.push(seen.times[seen.at(i)], v);
  }
  return ring;
}

class Model extends EventTarget {
  constructor() {
    super();
    this.session = null;
    this.nodes = new Map();
    this.home = null;
    this.scope = 'all';
    this.links = new Map(); /* by node: its list of peers */
    this.timer = 0;
    this.left = 0; /* nodes beyond MOST_NODES */
    this.seen = 0;
  }

  /* ---- who is looked at ---- */
  inScope() {
    const all = [...this.nodes.values()];
    if (this.scope === 'all') return all.filter(n => n.home || !['dead', 'known', 'dialling'].includes(n.state)).slice(0, MOST_ASKED);
    return all.filter(n => n.id === this.scope);
  }

  answering() {
    return this.inScope().filter(n => n.status && !n.error);
  }

  query(node, more = {}) {
    return node.home ? more : {node: node.id, ...more};
  }

  label(id) {
    const n = this.nodes.get(id);
    return n ? n.label : String(id).slice(0, 8);
  }

  choose(scope) {
    if (scope === this.scope) return;
    this.scope = scope;
    this.dispatchEvent(new Event('scope'));
    this.tell();
    this.soon();
  }

  tell() {
    this.dispatchEvent(new Event('change'));
  }

  /* ---- asking ---- */
  start() {
    this.stopped = false;
    this.soon();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  forget() {
    this.stop();
    this.nodes.clear();
    this.links.clear();
    this.home = null;
  }

  soon() {
    clearTimeout(this.timer);
    if (!this.stopped) this.timer = setTimeout(() => this.turn(), 0);
  }

  async turn() {
    if (this.turning || this.stopped) return;
    this.turning = true;
    const began = performance.now();
    let wait = STEP_MS;
    try {
      await this.askHome();
      if (Date.now() - this.seen > 4000) await this.askMembers();
      const others = this.inScope().filter(n => !n.home && !(n.error && Date.now() - n.asked < AGAIN_MS));
      await Promise.all(others.map(n => this.askStatus(n)));
      this.askPast();
      if (this.wantsLosers) this.askLosers();
      wait = Math.max(STEP_MS, others.length * 120);
    } catch (e) {
      if (!e.kind) console.error(e);
      if (e.kind === 'expired') this.stop();
      wait = api.isUp() ? 4000 : 1500;
    }
    this.turning = false;
    this.tell();
    clearTimeout(this.timer);
    if (!this.stopped) this.timer = setTimeout(() => this.turn(), Math.max(250, wait - (performance.now() - began)));
  }

  async askHome() {
    const s = await api.get('/api/status');
    if (!this.home || this.home.id !== s.node_id) { /* another node answers here now */
      this.nodes.clear();
      this.links.clear();
      this.home = new NodeState(s.node_id, true);
      this.nodes.set(s.node_id, this.home);
      this.seen = 0;
    }
    this.take(this.home, s);
  }

  async askStatus(n) {
    n.asked = Date.now();
    try {
      const s = await api.get('/api/status', {node: n.id});
      if (s.node_id !== n.id) throw new api.Failure('missing', 'This node does not pass questions on to others');
      n.error = null;
      this.take(n, s);
    } catch (e) {
      if (!e.kind) throw e;
      if (e.kind === 'gone' || e.kind === 'expired') throw e;
      n.error = e;
      n.last = null;
    }
  }

  /* The members that the home node knows, and its links. */
  async askMembers() {
    const peers = await this.pages('peers', this.home, MOST_NODES);
    this.links.set(this.home.id, peers.rows);
    this.left = Math.max(0, peers.total - peers.rows.length);
    const there = new Set([this.home.id]);
    for (const p of peers.rows) {
      there.add(p.id);
      let n = this.nodes.get(p.id);
      if (!n) this.nodes.set(p.id, (n = new NodeState(p.id, false)));
      if (p.name) n.name = p.name;
      if (n.state !== p.state) {
        n.before = n.state;
        n.state = p.state;
        n.changed = Date.now();
      }
    }
    for (const id of [...this.nodes.keys()]) if (!there.has(id)) this.nodes.delete(id);
    this.seen = Date.now();
    if (this.scope !== 'all' && !this.nodes.has(this.scope)) this.choose('all');
  }

  /* A list of a node, whole up to `most` rows. */
  async pages(what, node, most, each) {
    const rows = [];
    let total = 0;
    do {
      const j = await api.get('/api/' + what, this.query(node, {offset: rows.length, limit: 64}));
      if (!Array.isArray(j[what])) throw new api.Failure('refused', 'The answer is no list');
      total = j.total;
      rows.push(...j[what]);
      if (each) each(rows.length, total);
      if (!j[what].length) break;
    } while (rows.length < Math.min(total, most));
    return {rows, total};
  }

  take(n, s) {
    const now = Date.now();
    const c = counters(s);
    const before = n.last;
    n.status = s;
    n.name = s.name || n.name;
    n.at = now;
    const seconds = before ? (now - before.at) / 1000 : 0;
    const again = before && s.uptime_s + 1 < before.uptime; /* it was started anew: its counters, too */
    if (again) {
      n.short.clear();
      n.long.clear();
      n.past = 'unknown';
    }
    if (before && !again && seconds < MOMENT) return;
    n.last = {at: now, c, uptime: s.uptime_s, turns: s.turns && s.turns.counts};
    if (!before || again) return;
    const v = {clients: s.clients.count, rss_bytes: s.memory.rss_bytes, accounted_bytes: s.memory.accounted_bytes};
    for (const name in c) v[name] = Math.max(0, c[name] - before.c[name]) / seconds;
    for (const r of s.memory.rows) v['memory.' + r.name] = r.bytes;
    if (s.turns && s.turns.counts) {
      const counts = lately(s.turns.counts, before.turns);
      v.turn_p50_us = quantile(s.turns.bounds_us, counts, 0.5);
      v.turn_p99_us = quantile(s.turns.bounds_us, counts, 0.99);
    }
    if (n.extra && now - n.extra.at < 2 * MINUTE_MS) Object.assign(v, n.extra.values);
    n.rates = v;
    n.short.push(now, v);
    if (now - n.long.last() >= LONG_MS) n.long.push(now, n.short.mean(now - LONG_MS));
  }

  /* The node's own history: the last hour once, the last minute now and then, for what a moment's state does not tell. */
  async askPast() {
    for (const n of this.answering().slice(0, 16)) {
      if (n.past === 'asked' || n.past === 'none') continue;
      const first = n.past === 'unknown';
      if (!first && Date.now() - n.minuteAt < MINUTE_MS) continue;
      n.past = 'asked';
      try {
        this.takeMinute(n, await api.get('/api/history_minute', this.query(n)));
        if (first) this.takePast(n, await api.get('/api/history', this.query(n)));
        n.past = 'had';
      } catch (e) {
        n.past = e.kind === 'missing' || e.kind === 'refused' ? 'none' : 'unknown';
        if (!e.kind) console.error(e);
      }
      n.minuteAt = Date.now();
    }
  }

  takeMinute(n, h) {
    if (!Array.isArray(h.times) || !h.series) return;
    const of = (name, from) => (h.series[name] || []).slice(from).filter(v => typeof v === 'number');
    const values = {};
    for (const name of ['call_p50_us', 'call_p99_us', 'turn_longest_us']) {
      const some = of(name, -12);
      values[name] = !some.length ? NaN : name === 'call_p50_us' ? some.reduce((a, b) => a + b, 0) / some.length : Math.max(...some);
    }
    n.extra = {at: Date.now(), values};
    const first = n.short.count ? n.short.times[n.short.at(0)] : Date.now();
    if (!n.primed) n.short = splice(n.short, h, first, STEP_MS, SHORT);
    n.primed = true;
  }

  /* One page of clients a turn, round and round: who lost messages. */
  async askLosers() {
    for (const n of this.answering()) {
      if (!n.status.messages.dropped && !(n.losers && n.losers.length)) continue;
      try {
        const from = n.losersAt || 0;
        const j = await api.get('/api/clients', this.query(n, {offset: from, limit: 64}));
        const known = new Map((from ? n.losers || [] : (n.losers || []).filter(c => c.round !== n.round - 1)).map(c => [c.instance + c.id, c]));
        for (const c of j.clients) {
          known.delete(c.instance + c.id);
          if (c.dropped) known.set(c.instance + c.id, {id: c.id, instance: c.instance, name: c.name, door: c.door, dropped: c.dropped, round: n.round || 0});
        }
        n.losers = [...known.values()].sort((a, b) => b.dropped - a.dropped).slice(0, 20);
        n.losersAt = from + 64 < j.total ? from + 64 : 0;
        if (!n.losersAt) n.round = (n.round || 0) + 1;
      } catch (e) {
        if (!e.kind) console.error(e);
      }
    }
  }

  takePast(n, h) {
    if (!Array.isArray(h.times) || !h.series) return;
    n.long = splice(n.long, h, n.long.count ? n.long.times[n.long.at(0)] : Date.now(), LONG_MS, LONG);
  }

  /* ---- figures of all that are looked at ---- */
  total(read) {
    let t = NaN;
    for (const n of this.answering()) {
      const v = read(n);
      if (typeof v === 'number' && !Number.isNaN(v)) t = Number.isNaN(t) ? v : t + v;
    }
    return t;
  }

  most(read) {
    let best = NaN;
    let who = null;
    for (const n of this.answering()) {
      const v = read(n);
      if (typeof v !== 'number' || Number.isNaN(v) || v <= best) continue;
      best = v;
      who = n;
    }
    return [best, who];
  }

  longHas() {
    return this.answering().some(n => n.long.count > 4);
  }

  /* The clients with the most dropped messages among those that were read last. */
  losers() {
    const out = [];
    for (const n of this.answering()) for (const c of n.losers || []) out.push({...c, node: n.id});
    return out.sort((a, b) => b.dropped - a.dropped);
  }

  rate(name) {
    return this.total(n => n.rates[name]);
  }

  /* range: 'short' or 'long' */
  points(name, range, most = false) {
    const since = Date.now() - (range === 'short' ? 6 * 60e3 : 3600e3);
    return sum(this.answering().map(n => n[range].read(name, since)), most);
  }

  /* The rows of memory of all that are looked at, added up by name. */
  rows() {
    const by = new Map();
    for (const n of this.answering())
      for (const r of n.status.memory.rows) {
        const t = by.get(r.name);
        if (!t) by.set(r.name, {...r});
        else
          for (const k of ['entries', 'limit', 'bytes', 'limit_bytes', 'peak_bytes', 'refused', 'evicted', 'expired']) t[k] += r[k];
      }
    return [...by.values()];
  }

  /* What was lost or refused: [{what, count, key, since}], of nodes that do not tell it the rows of memory that refused. */
  lost() {
    const by = new Map();
    for (const n of this.answering()) {
      const list = n.status.lost || n.status.memory.rows.filter(r => r.refused)
        .map(r => ({name: r.name, what: (r.what || r.name) + ': refused', count: r.refused, key: r.keys || ''}));
      const before = n.lostBefore || new Map();
      for (const l of list) {
        const t = by.get(l.name) || {...l, count: 0, nodes: [], lately: 0};
        t.count += l.count;
        if (l.count) t.nodes.push(n.label);
        const was = before.get(l.name);
        if (was && was.uptime <= n.status.uptime_s) t.lately += Math.max(0, l.count - was.count);
        by.set(l.name, t);
      }
      if (!n.lostBefore || n.status.uptime_s - n.lostAt > 300 || n.status.uptime_s < n.lostAt) {
        n.lostBefore = new Map(list.map(l => [l.name, {count: l.count, uptime: n.status.uptime_s}]));
        n.lostAt = n.status.uptime_s;
      }
    }
    return [...by.values()].filter(l => l.count > 0).sort((a, b) => b.lately - a.lately || b.count - a.count);
  }
}

export const model = new Model();
export {MOST_ASKED, MOST_NODES};
