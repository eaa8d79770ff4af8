/* Topics: what is published, as a live tree with the last value and rate of each; and publishing. Bounded: MOST places in the tree; when it
 * is full, what was quiet for a minute makes room, and the rest is counted. */
import * as api from './api.js';
import {button, el, keyed, panel, say, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {List} from './list.js';
import {model} from './model.js';

const MOST = 4000;
const VALUE = 160; /* characters of a value that are kept */
const BUSIEST = 8;
const QUIET_MS = 60000;
const TICK_MS = 1000;
const names = new Intl.Collator('en', {numeric: true});
const OPEN_LEVELS = 2; /* levels that open by themselves */
const OPEN_KIDS = 40; /* unless they have more */

class Place {
  constructor(name, path, level, above) {
    Object.assign(this, {name, path, level, above});
    this.kids = null;
    this.open = level < OPEN_LEVELS;
    this.value = null; /* a topic has one */
    this.count = this.before = this.rate = this.at = 0;
    this.sum = 0; /* rate of all below */
  }
}

export default function (page) {
  let top;
  let places;
  let left; /* messages of topics that found no place */
  let lost;
  let gaps;
  let heard;
  let rows = [];
  let stream = null;
  let pattern = '**';
  let words = '';
  let paused = false;
  let timer = 0;
  let ticked = 0;
  let shown = null; /* the place in the drawer */

  const where = el('input', {class: 'input mono', 'aria-label': 'Pattern to subscribe to', value: '**', maxlength: 255, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false'});
  const subscribe = el('form', {class: 'inline', on: {submit: e => {
    e.preventDefault();
    pattern = where.value.trim() || '**';
    where.value = pattern;
    begin();
  }}}, where, button('Subscribe', null, {type: 'submit'}));
  const search = el('input', {type: 'search', class: 'input search', placeholder: 'Filter', 'aria-label': 'Filter topics', maxlength: 120, on: {input: () => {
    words = search.value.trim().toLowerCase();
    flatten();
  }}});
  const hold = button('Pause', () => {
    paused = !paused;
    say(hold, paused ? 'Go on' : 'Pause');
    if (paused) close();
    else listen();
  });
  const state = el('span', {class: 'badge', role: 'status'});
  const figures = el('p', {class: 'quiet num figures-line'});
  const list = new List({label: 'Topics', kind: 'tree', height: () => 32, make, fill, open: detail, key: keys});
  const nothing = el('p', {class: 'empty-line'});
  const busyList = el('ul', {class: 'who busiest'});
  const busyNone = el('p', {class: 'quiet', text: 'Nothing was published yet.'});
  let busyAt = 0;
  const form = publishForm();
  const root = el('div', {class: 'view topics fills'},
    el('div', {class: 'columns topics-columns fills'},
      panel('Topics', {kind: 'fills', note: state, tools: [subscribe, search, hold], id: 'h-topics'}, figures, nothing, list.root),
      el('div', {class: 'column'},
        panel('Publish', {id: 'h-publish'}, form),
        panel('Busiest', {id: 'h-busiest'}, busyList, busyNone))));
  clear();

  function clear() {
    top = new Place('', '', -1, null);
    top.kids = new Map();
    top.open = true;
    places = left = lost = gaps = heard = 0;
  }

  /* The topics of which the nodes count most, whoever subscribes to them. */
  async function busiest() {
    if (Date.now() - busyAt < 4000) return;
    busyAt = Date.now();
    const by = new Map();
    try {
      for (const n of model.answering().slice(0, 16)) {
        const j = await api.get('/api/topics', model.query(n, {limit: BUSIEST}));
        for (const t of j.topics) {
          const b = by.get(t.topic) || {topic: t.topic, per_s: 0, dropped: 0};
          b.per_s += t.per_s;
          b.dropped += t.dropped;
          by.set(t.topic, b);
        }
      }
    } catch (e) {
      if (!e.kind) throw e;
      say(busyNone, e.kind === 'missing' ? 'This node does not count topics.' : e.message);
    }
    const list = [...by.values()].sort((a, b) => b.per_s - a.per_s).slice(0, BUSIEST);
    show(busyNone, !list.length);
    keyed(busyList, list, t => t.topic, () => el('li', {}, el('span', {class: 'name mono'}), el('span', {class: 'loud'}), el('span', {class: 'num right'})), (li, t) => {
      say(li.children[0], fmt.cut(t.topic, 60));
      say(li.children[1], t.dropped ? fmt.short(t.dropped) + ' lost' : '');
      say(li.children[2], fmt.rate(t.per_s));
    });
  }

  function make() {
    const toggle = el('span', {class: 'twist', 'aria-hidden': 'true'});
    const parts = {toggle, name: el('span', {class: 'topic-name mono'}), value: el('span', {class: 'topic-value mono quiet'}), rate: el('span', {class: 'topic-rate num'})};
    const row = el('div', {role: 'treeitem'}, toggle, parts.name, parts.value, parts.rate);
    toggle.addEventListener('click', e => {
      e.stopPropagation();
      flip(rows[row.index]);
    });
    row.parts = parts;
    return row;
  }

  function fill(row, i) {
    const p = rows[i];
    if (!p) return;
    const {toggle, name, value, rate} = row.parts;
    set(row, 'aria-level', p.level + 1);
    set(row, 'aria-expanded', p.kids ? String(p.open || !!words) : null);
    row.style.setProperty('--level', String(Math.min(p.level, 12)));
    set(toggle, 'class', 'twist' + (p.kids ? (p.open || words ? ' open' : ' shut') : ''));
    say(name, fmt.cut(p.name, 80));
    say(value, p.value === null ? (p.kids && !p.open ? fmt.plural(p.kids.size, 'name') + ' below' : '') : fmt.cut(p.value, VALUE));
    const r = p.kids && !p.open ? p.sum : p.rate;
    say(rate, r ? fmt.rate(r) : p.value !== null ? 'quiet' : '');
    row.classList.toggle('fresh', p.at > ticked - TICK_MS * 1.5 && p.value !== null);
  }

  /* ---- the tree ---- */
  function hear(m) {
    heard++;
    if (typeof m.topic !== 'string') return;
    let p = top;
    const names = m.topic.split('.');
    for (let i = 0; i < names.length && i < 32; i++) {
      if (!p.kids) p.kids = new Map();
      let next = p.kids.get(names[i]);
      if (!next) {
        if (places >= MOST) {
          left++;
          return;
        }
        places++;
        next = new Place(names[i], p === top ? names[i] : p.path + '.' + names[i], i, p);
        p.kids.set(names[i], next);
        if (p.kids.size > OPEN_KIDS && p.level >= 0 && !p.chosen) p.open = false;
      }
      p = next;
    }
    p.value = api.payload(m, VALUE);
    p.count++;
    p.at = Date.now();
    p.publisher = m.publisher;
    p.id = m.id;
    p.retained = m.retain || m.retained;
  }

  /* Rates, once a second; with room to make, what was quiet goes. */
  function tick() {
    const now = Date.now();
    const seconds = (now - ticked) / 1000 || 1;
    ticked = now;
    const room = places >= MOST * 0.95;
    const walk = p => {
      const r = (p.count - p.before) / seconds;
      p.before = p.count;
      p.rate = p.count > 1 || r > 1.5 ? p.rate * 0.6 + r * 0.4 : 0;
      if (p.rate < 0.05) p.rate = 0;
      p.sum = p.rate;
      if (p.kids)
        for (const [name, kid] of p.kids) {
          walk(kid);
          p.sum += kid.sum;
          if (room && !kid.kids && now - kid.at > QUIET_MS) {
            p.kids.delete(name);
            places--;
          }
        }
      if (p.kids && !p.kids.size) p.kids = null;
    };
    walk(top);
    if (!top.kids) top.kids = new Map();
    flatten();
    if (shown) shown();
    const more = [];
    if (left) more.push(fmt.count(left) + ' messages of further topics are not shown: subscribe to less');
    if (lost) more.push(fmt.count(lost) + ' were left out by the node, as this page reads too slowly for all');
    if (gaps) more.push('some were missed while the connection was away');
    say(figures, fmt.plural(places, 'name') + ', ' + fmt.rate(top.sum) + ', ' + fmt.short(heard) + ' heard' + (more.length ? '. ' + more.join('. ') + '.' : ''));
  }

  function flatten() {
    const out = [];
    const has = p => p.path.toLowerCase().includes(words) || (p.value !== null && p.value.toLowerCase().includes(words));
    const walk = p => {
      const kids = [...p.kids.values()].sort((a, b) => names.compare(a.name, b.name));
      for (const k of kids) {
        const at = out.length;
        out.push(k);
        if (k.kids && (k.open || words)) walk(k);
        if (words && out.length === at + 1 && !has(k)) out.length = at;
      }
    };
    walk(top);
    rows = out;
    show(nothing, !rows.length);
    say(nothing, paused ? 'Paused.' : words ? 'No topic or value has this in it.' : broken || 'Nothing was published yet. Try: macula pub plant.press.temp 21.5');
    show(list.root, rows.length > 0);
    list.setTotal(rows.length);
  }

  function flip(p) {
    if (!p || !p.kids) return;
    p.open = !p.open;
    p.chosen = true;
    flatten();
  }

  function keys(e, i) {
    const p = rows[i];
    if (!p) return false;
    if (e.key === 'ArrowRight') {
      if (p.kids && !p.open) flip(p);
      else if (p.kids) list.move(i + 1);
      return true;
    }
    if (e.key === 'ArrowLeft') {
      if (p.kids && p.open) flip(p);
      else if (p.above && p.above !== top) list.move(rows.indexOf(p.above));
      return true;
    }
    if (e.key === ' ') {
      flip(p);
      return true;
    }
    return false;
  }

  function detail(i) {
    const p = rows[i];
    if (!p) return;
    if (p.value === null) {
      flip(p);
      return;
    }
    const pairs = el('dl', {class: 'pairs'});
    const body = el('div', {}, pairs, el('div', {class: 'actions'}, button('Publish here', () => {
      page.closeDrawer();
      form.topic(p.path);
    })));
    const cells = ['Topic', 'Value', 'Rate', 'Heard', 'Last', 'Publisher', 'Message'].map(k => {
      const dd = el('dd', {class: k === 'Value' || k === 'Topic' || k === 'Publisher' || k === 'Message' ? 'mono wrap' : 'num'});
      pairs.append(el('div', {}, el('dt', {text: k}), dd));
      return dd;
    });
    shown = () => {
      const who = p.publisher && typeof p.publisher === 'object' ? p.publisher.name || p.publisher.id || JSON.stringify(p.publisher) : p.publisher;
      [fmt.cut(p.path, 260), fmt.cut(p.value, VALUE), fmt.rate(p.rate), fmt.count(p.count), fmt.clock(p.at), who ? fmt.cut(who, 120) : '–', p.id ? fmt.cut(p.id, 80) : '–']
        .forEach((t, k) => say(cells[k], t));
    };
    shown();
    page.drawer('Topic', body, list.root, () => {
      shown = null;
    });
  }

  /* ---- the stream ---- */
  let broken = '';
  function listen() {
    close();
    if (paused) return;
    set(state, 'class', 'badge');
    say(state, 'connecting');
    stream = new api.Stream(pattern, {
      message: hear,
      gap: () => gaps++,
      dropped: n => {
        lost += n;
      },
      status: (text, kind) => {
        broken = kind === 'missing' ? 'This node has no subscriptions over HTTP (/sub): a later version of maculad has.' : text;
        set(state, 'class', 'badge ' + (kind === 'open' ? 'good' : 'bad'));
        say(state, kind === 'open' ? 'live' : kind === 'missing' ? 'not available' : kind === 'gone' || kind === 'limited' ? 'coming back' : kind);
        flatten();
      },
    });
  }

  function close() {
    if (stream) stream.close();
    stream = null;
    set(state, 'class', 'badge');
    say(state, paused ? 'paused' : '');
  }

  function begin() {
    clear();
    listen();
    flatten();
  }

  /* ---- publishing ---- */
  function publishForm() {
    const topic = el('input', {class: 'input mono', id: 'pub-topic', required: true, maxlength: 255, placeholder: 'plant.press.temp', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false'});
    const text = el('textarea', {class: 'input mono', id: 'pub-text', rows: 4, placeholder: '21.5', spellcheck: 'false'});
    const qos = el('select', {class: 'input', id: 'pub-qos'}, el('option', {value: '0', text: '0: at most once'}), el('option', {value: '1', text: '1: acknowledged'}));
    const retain = el('input', {type: 'checkbox', id: 'pub-retain'});
    const said = el('p', {class: 'quiet said', role: 'status'});
    const f = el('form', {class: 'stacked', on: {submit: async e => {
      e.preventDefault();
      say(said, 'Publishing …');
      const value = text.value;
      let type = 'text/plain';
      try {
        JSON.parse(value);
        type = 'application/json';
      } catch { /* not JSON */ }
      try {
        await api.post(api.path('pub', topic.value.trim()), value, {type, query: {qos: qos.value, retain: retain.checked ? '1' : ''}});
        say(said, 'Published at ' + fmt.clock(Date.now()) + (qos.value === '1' ? ', acknowledged.' : '.'));
      } catch (e) {
        say(said, e.kind === 'missing' ? 'This node takes no messages over HTTP (/pub): a later version of maculad does.' : e.message);
      }
    }}},
    el('label', {for: 'pub-topic', text: 'Topic'}), topic, el('label', {for: 'pub-text', text: 'Payload'}), text,
    el('div', {class: 'pair'}, el('div', {}, el('label', {for: 'pub-qos', text: 'QoS'}), qos), el('label', {class: 'check', for: 'pub-retain'}, retain, 'Retain')),
    button('Publish', null, {type: 'submit', kind: 'primary'}), said);
    f.topic = path => {
      topic.value = path;
      text.focus();
    };
    return f;
  }

  return {
    root, title: 'Topics', update: busiest,
    enter() {
      busyAt = 0;
      ticked = Date.now();
      begin();
      timer = setInterval(tick, TICK_MS);
    },
    leave() {
      close();
      clearInterval(timer);
      clear();
      rows = [];
    },
    /* A page that is not looked at costs the node nothing. */
    seen(visible) {
      clearInterval(timer);
      if (!visible) close();
      else {
        listen();
        ticked = Date.now();
        timer = setInterval(tick, TICK_MS);
      }
    },
  };
}
