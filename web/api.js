/* Questions to the node that serves this page. At most AT_ONCE are under way, so that the node's connections are left to others. */
const AT_ONCE = 4;
const PATIENCE_MS = 15000; /* the node itself waits 10 s for another one */
const MOST_BUFFER = 4 << 20;

export const state = new EventTarget(); /* 'up', 'gone', 'expired' */
let up = true;
let running = 0;
const queue = [];

/* kind: gone (no answer at all), expired (401), forbidden, missing (404), limited, silent (another node does not answer), refused */
export class Failure extends Error {
  constructor(kind, text, status = 0, name = '') {
    super(text);
    this.kind = kind;
    this.status = status;
    this.code = name;
  }
}

function tell(what) {
  const news = what === 'expired' || up !== (what === 'up');
  if (what !== 'expired') up = what === 'up';
  if (news) state.dispatchEvent(new Event(what));
}

export const isUp = () => up;

const KINDS = {401: 'expired', 403: 'forbidden', 404: 'missing', 405: 'missing', 429: 'limited', 502: 'silent', 503: 'silent', 504: 'silent'};

function failure(status, type, text) {
  let message = text;
  let name = '';
  if (/json/.test(type)) {
    try {
      const j = JSON.parse(text);
      const e = typeof j.error === 'object' && j.error ? j.error : j;
      name = String(e.error || e.code || e.name || '');
      message = String(e.message || e.text || name || text);
    } catch { /* not what it says it is: shown as it is */ }
  }
  return new Failure(KINDS[status] || 'refused', (message || 'HTTP ' + status).slice(0, 600), status, name);
}

function place() {
  if (running < AT_ONCE) {
    running++;
    return Promise.resolve();
  }
  return new Promise(resolve => queue.push(resolve));
}

function leave() {
  const next = queue.shift();
  if (next) next();
  else running--;
}

export function path(...parts) {
  return '/' + parts.map(encodeURIComponent).join('/');
}

function url(where, query = {}) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== null && value !== '') q.set(name, value);
  const text = q.toString();
  return text ? where + '?' + text : where;
}

async function answer(where, {query, method = 'GET', body, type, signal, quiet} = {}) {
  const late = AbortSignal.timeout(PATIENCE_MS);
  let r;
  let text;
  try {
    r = await fetch(url(where, query), {
      method, body, signal: signal ? AbortSignal.any([signal, late]) : late, cache: 'no-store', credentials: 'same-origin',
      headers: type ? {'Content-Type': type} : {},
    });
    text = await r.text();
  } catch (e) {
    if (signal && signal.aborted) throw new Failure('aborted', 'no longer asked');
    if (!quiet) tell('gone');
    throw new Failure('gone', late.aborted ? 'The node has not answered in time' : 'The node cannot be reached');
  }
  tell('up');
  if (r.ok) return {text, type: r.headers.get('Content-Type') || ''};
  const f = failure(r.status, r.headers.get('Content-Type') || '', text);
  if (f.kind === 'expired' && !quiet) tell('expired');
  throw f;
}

export async function ask(where, options) {
  await place();
  try {
    for (let tries = 0; ; tries++) {
      try {
        return await answer(where, options);
      } catch (e) {
        if (e.kind !== 'limited' || tries >= 3 || (options && options.method === 'POST')) throw e;
        await new Promise(resolve => setTimeout(resolve, 400 << tries)); /* this address has asked for as much as it may */
      }
    }
  } finally {
    leave();
  }
}

export async function get(where, query, options) {
  const {text} = await ask(where, {query, ...options});
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure('refused', 'The answer is no JSON');
  }
}

export async function post(where, body, {query, type = 'application/json', quiet} = {}) {
  const text = type === 'application/json' && typeof body !== 'string' ? JSON.stringify(body) : body;
  return ask(where, {method: 'POST', body: text, type, query, quiet});
}

/* Server-sent events, read from a fetch: unlike EventSource it tells with which status it was refused. It comes back by itself, after
 * 1, 2, 4, ... 15 s, with the id that it had last.
 * on: message({topic, ...}, id), gap(), dropped(count), status(text or '', kind). */
export class Stream {
  constructor(pattern, on) {
    this.where = path('sub', pattern);
    this.on = on;
    this.last = '';
    this.wait = 1000;
    this.run();
  }

  close() {
    this.closed = true;
    if (this.abort) this.abort.abort();
    clearTimeout(this.timer);
  }

  async run() {
    this.abort = new AbortController();
    let why = 'The stream has ended';
    let kind = 'gone';
    try {
      const r = await fetch(this.where, {
        signal: this.abort.signal, cache: 'no-store', credentials: 'same-origin',
        headers: {Accept: 'text/event-stream', ...(this.last ? {'Last-Event-ID': this.last} : {})},
      });
      if (!r.ok) throw failure(r.status, r.headers.get('Content-Type') || '', await r.text());
      if (!/event-stream/.test(r.headers.get('Content-Type') || '')) throw new Failure('missing', 'no stream of events', 404);
      this.on.status('', 'open');
      this.wait = 1000;
      await this.read(r.body.getReader());
    } catch (e) {
      if (this.closed) return;
      kind = e.kind || 'gone';
      if (e.kind) why = e.message;
      if (kind === 'expired') tell('expired');
    }
    if (this.closed) return;
    this.on.status(why, kind);
    if (kind === 'missing' || kind === 'forbidden' || kind === 'refused' || kind === 'expired') return;
    this.timer = setTimeout(() => this.run(), this.wait);
    this.wait = Math.min(this.wait * 2, 15000);
  }

  async read(reader) {
    const text = new TextDecoder();
    let rest = '';
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      rest += text.decode(value, {stream: true}).replace(/\r/g, '');
      const parts = rest.split('\n\n');
      rest = parts.pop();
      if (rest.length > MOST_BUFFER) throw new Failure('refused', 'an event is too long');
      for (const part of parts) this.event(part);
    }
  }

  event(block) {
    let name = 'message';
    let id = '';
    let data = '';
    for (const line of block.split('\n')) {
      const at = line.indexOf(':');
      if (at === 0) continue;
      const field = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? '' : line.slice(at + (line[at + 1] === ' ' ? 2 : 1));
      if (field === 'event') name = value;
      else if (field === 'id') id = value;
      else if (field === 'data') data += (data ? '\n' : '') + value;
    }
    if (id) this.last = id;
    if (name === 'gap') return this.on.gap && this.on.gap();
    if (!data) return undefined;
    let j;
    try {
      j = JSON.parse(data);
    } catch {
      return undefined;
    }
    if (name === 'dropped') return this.on.dropped && this.on.dropped(Number(j.count) || 0);
    return name === 'message' ? this.on.message(j, id) : undefined;
  }
}

/* The text of a message, shortened; bytes that are no text as hexadecimal digits. */
export function payload(m, most = 4096) {
  if (typeof m.payload === 'string') return m.payload.slice(0, most);
  if (m.payload !== undefined && m.payload !== null) return JSON.stringify(m.payload).slice(0, most);
  if (typeof m.payload_base64 !== 'string') return '';
  try {
    const raw = atob(m.payload_base64.slice(0, Math.ceil(most / 3) * 4));
    let out = '';
    for (let i = 0; i < raw.length && out.length < most; i++) out += raw.charCodeAt(i).toString(16).padStart(2, '0') + ' ';
    return out.trim();
  } catch {
    return m.payload_base64.slice(0, most);
  }
}
