/* Events: who came, died, was refused, read too slowly, was revoked. The nodes keep the last ones (/api/events); of nodes that do not, what
 * this page has seen change. Bounded: MOST are kept here. */
import * as api from './api.js';
import {button, el, keyed, panel, say, segmented, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {model} from './model.js';

const MOST = 500;
const FRESH_MS = 2500;
const KINDS = [['', 'All'], ['join', 'Joins'], ['death', 'Deaths'], ['refused', 'Refused'], ['slow', 'Slow'], ['revoked', 'Revoked'], ['other', 'Others']];

/* What sort of event it is, by its name in the log. */
export function kindOf(name, fields = {}) {
  if (/revok|judged|pass_/.test(name)) return 'revoked';
  if (/slow|silent|shed|dropped|pool_full|lost_message|message_lost|held|paced|memory_short/.test(name) || /slow_consumer|queue/.test(fields.reason || fields.code || '')) return 'slow';
  if (/refus|forbid|denied|wrong|hasty|rate|left_out|displaced|evicted|full|twice|forged/.test(name)) return 'refused';
  if (/dead|died|unreachable|gone|lost|left|down|ended|suspect/.test(name)) return 'death';
  if (/join|connected|alive|link|linked|up$|admitted|peer|started|ready|member/.test(name)) return 'join';
  return 'other';
}

export default function () {
  let all = []; /* newest first */
  const known = new Set();
  let kind = '';
  let words = '';
  let at = 0;
  let busy = false;
  let missing = false;
  let failure = null;
  let paused = false;
  const states = new Map();

  const pick = segmented('Which events', KINDS, kind, v => {
    kind = v;
    draw();
  });
  const search = el('input', {type: 'search', class: 'input search', placeholder: 'Filter', 'aria-label': 'Filter events', maxlength: 120, on: {input: () => {
    words = search.value.trim().toLowerCase();
    draw();
  }}});
  const hold = button('Pause', () => {
    paused = !paused;
    say(hold, paused ? 'Go on' : 'Pause');
    draw();
  });
  const state = el('span', {class: 'quiet'});
  const body = el('ol', {class: 'events'});
  const none = el('p', {class: 'empty-line'});
  const root = el('div', {class: 'view events fills'},
    panel('Events', {kind: 'fills', note: state, tools: [pick, search, hold], id: 'h-events'}, none, el('div', {class: 'scroll tall', tabindex: '0', role: 'region', 'aria-label': 'Events, newest first'}, body)));

  function add(e) {
    if (known.has(e.key)) return;
    known.add(e.key);
    e.kind = kindOf(e.event, e.fields);
    e.words = [e.event, e.text, ...Object.values(e.fields || {})].join('\n').toLowerCase();
    all.push(e);
  }

  function settle() {
    all.sort((a, b) => b.ms - a.ms || b.n - a.n);
    for (const e of all.splice(MOST)) known.delete(e.key);
  }

  async function read() {
    if (paused || busy || Date.now() - at < FRESH_MS) return;
    busy = true;
    failure = null;
    for (const n of model.answering()) {
      if (n.noEvents) continue;
      try {
        for (let offset = 0, fresh = true, total = 1; fresh && offset < Math.min(total, MOST); ) {
          const j = await api.get('/api/events', model.query(n, {offset, limit: 64}));
          total = j.total;
          fresh = j.events.length > 0;
          offset += j.events.length;
          for (const e of j.events) {
            const key = n.id + '.' + (n.status.uptime_s < (n.eventUptime || 0) ? 'x' : '') + e.n + '.' + e.ms;
            if (known.has(key)) fresh = false;
            else add({key, n: e.n, ms: e.ms, node: n.id, event: String(e.event), level: e.level, text: (e.fields && e.fields.text) || '', fields: e.fields || {}});
          }
        }
      } catch (e) {
        if (!e.kind) console.error(e);
        else if (e.kind === 'missing' && (!e.code || e.code === 'no_such_procedure')) n.noEvents = missing = true;
        else failure = e;
      }
    }
    settle();
    at = Date.now();
    busy = false;
    draw();
  }

  /* What this page sees itself, of nodes that keep no events. */
  function watch() {
    for (const n of model.nodes.values()) {
      const now = n.error && n.error.kind === 'silent' ? 'does not answer' : n.state;
      const was = states.get(n.id);
      states.set(n.id, now);
      if (!missing || was === undefined || was === now) continue;
      add({key: 'seen.' + n.id + Date.now(), n: 0, ms: Date.now(), node: model.home.id, event: /dead|not answer|suspect/.test(now) ? 'node_lost' : 'node_joined', level: 'info',
        text: n.label + ' was ' + was + ' and is ' + now, fields: {name: n.name, node: n.id}});
      settle();
    }
    for (const id of states.keys()) if (!model.nodes.has(id)) states.delete(id);
  }

  function draw() {
    const some = all.filter(e => (!kind || e.kind === kind) && (!words || e.words.includes(words)));
    show(none, !some.length);
    say(none, failure ? failure.message : kind || words ? 'No such event among the last ' + all.length + '.' : missing ? 'This node keeps no events (/api/events): what this page sees change from now on is listed.' : at ? 'Nothing has happened yet.' : 'Asking the node …');
    say(state, fmt.plural(some.length, 'event') + (all.length >= MOST ? ', the last ' + MOST + ' are kept' : '') + (missing && some.length ? '; as seen by this page' : '') + (paused ? '; paused' : ''));
    keyed(body, some, e => e.key,
      () => el('li', {}, el('time', {class: 'num quiet'}), el('span', {class: 'badge'}), el('div', {class: 'event'}, el('b'), el('span', {class: 'event-text'}), el('span', {class: 'event-fields mono quiet'})), el('span', {class: 'event-node quiet'})),
      (li, e) => {
        if (li.filled) return;
        li.filled = true;
        const [when, sort, what, node] = li.children;
        say(when, fmt.clock(e.ms));
        set(when, 'datetime', new Date(e.ms).toISOString());
        set(sort, 'class', 'badge ' + {join: 'good', death: 'bad', refused: 'warn', slow: 'warn', revoked: 'bad'}[e.kind]);
        say(sort, {join: 'join', death: 'end', refused: 'refused', slow: 'slow', revoked: 'revoked', other: e.level || 'note'}[e.kind]);
        say(what.children[0], fmt.cut(e.event.replace(/_/g, ' '), 60));
        say(what.children[1], fmt.cut(e.text, 300));
        say(what.children[2], Object.entries(e.fields).filter(([k]) => k !== 'text').slice(0, 8).map(([k, v]) => k + ' ' + fmt.cut(k === 'id' || k === 'node' || k === 'peer' || k === 'instance' ? String(v).slice(0, 12) : v, 60)).join(' · '));
        say(node, model.nodes.size > 1 ? fmt.cut(model.label(e.node), 20) : '');
      });
  }

  function drop() {
    all = [];
    known.clear();
    at = 0;
    draw();
  }

  return {
    root, title: 'Events',
    update() {
      watch();
      read();
    },
    enter() {
      at = 0;
      for (const n of model.nodes.values()) n.noEvents = false;
    },
    scoped() {
      drop();
      read();
    },
    leave: drop,
  };
}
