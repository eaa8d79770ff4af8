/* Services: who serves what, how fast, what fails; what a service says of itself, and calling one. */
import * as api from './api.js';
import {button, el, empty, panel, say, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {List} from './list.js';
import {model} from './model.js';
import {schemaForm} from './schema.js';

const MOST = 5000; /* rows of all nodes that are read */
const FRESH_MS = 4000;
const DESCRIBE = '.describe'; /* PROC.describe answers what PROC takes, and what it is for */
const ABOUT_AT_ONCE = 24; /* descriptions that are asked for in a turn; */
const MOST_ABOUT = 500; /* and kept */
const RESULT = 20000; /* characters of a result that are shown */
const COLUMNS = [['Procedure', 's-name'], ['Served by', 's-who'], ['Calls', 's-calls right'], ['Failed', 's-failed right'], ['Typical', 's-mean right'], ['Slowest', 's-most right'], ['Under way', 's-pending right']];
const narrow = matchMedia('(max-width: 760px)');

export default function (page) {
  let all = []; /* by procedure */
  let about = new Map();
  let words = '';
  let at = 0;
  let busy = false;
  let failure = null;
  let cutOff = 0;
  let rows = [];
  let callable = true;

  const search = el('input', {type: 'search', class: 'input search', placeholder: 'Procedure, provider, description', 'aria-label': 'Search services', maxlength: 120, on: {input: () => {
    words = search.value.trim().toLowerCase();
    draw();
  }}});
  const state = el('span', {class: 'quiet', role: 'status'});
  const header = el('div', {class: 'list-heads', role: 'rowgroup'}, el('div', {class: 'list-head', role: 'row'}, COLUMNS.map(([t, k]) => el('span', {role: 'columnheader', class: k, text: t}))));
  const list = new List({label: 'Services', header, height: () => (narrow.matches ? 68 : 48), make, fill, open: detail});
  const none = empty('No services', 'Nobody serves a procedure here. A program does with macula_serve, or from a shell: macula serve math.add --exec …');
  const root = el('div', {class: 'view services fills'}, panel('Services', {kind: 'fills', note: state, tools: [search], id: 'h-services'}, none, list.root));
  narrow.addEventListener('change', () => list.draw());

  function make() {
    const cells = COLUMNS.map(([, k]) => el('span', {role: 'gridcell', class: k}));
    const name = el('span', {class: 'name mono'});
    const what = el('span', {class: 'quiet sub'});
    cells[0].append(name, what);
    const row = el('div', {role: 'row'}, cells);
    row.parts = {cells, name, what};
    return row;
  }

  const wordsOf = s => (about.get(s.name) || {description: ''}).description;
  const whoOf = s => s.providers.slice(0, 3).map(p => fmt.cut(p.name || fmt.id(p.id), 24)).join(', ') + (s.providers.length > 3 ? ' +' + (s.providers.length - 3) : '');

  function fill(row, i) {
    const s = rows[i];
    if (!s) return;
    const {cells, name, what} = row.parts;
    say(name, fmt.cut(s.name, 120));
    say(what, narrow.matches ? whoOf(s) + (s.calls !== undefined ? ' · ' + fmt.short(s.calls) + ' calls' : '') : fmt.cut(wordsOf(s), 160));
    say(cells[1], whoOf(s));
    say(cells[2], s.calls === undefined ? '–' : fmt.short(s.calls));
    say(cells[3], s.failed === undefined ? '–' : fmt.short(s.failed));
    cells[3].classList.toggle('loud', s.failed > 0);
    say(cells[4], s.calls ? fmt.micros(s.mean_us) : '–');
    say(cells[5], s.calls ? fmt.micros(s.most_us) : '–');
    say(cells[6], fmt.count(s.pending));
  }

  async function read() {
    if (busy || Date.now() - at < FRESH_MS) return;
    busy = true;
    try {
      const by = new Map();
      let left = MOST;
      cutOff = 0;
      for (const n of model.answering()) {
        if (!n.status.services.count) continue;
        const {rows: list, total} = await model.pages('services', n, left);
        left -= list.length;
        cutOff += Math.max(0, total - list.length);
        for (const r of list) {
          let s = by.get(r.procedure);
          if (!s) by.set(r.procedure, (s = {name: r.procedure, providers: [], pending: 0, calls: undefined, failed: undefined, mean_us: 0, most_us: 0}));
          s.providers.push({...r, node: n.id});
          s.pending += r.pending_calls;
          if (r.calls === undefined || s.lastNode === n.id) continue; /* each of its providers tells the same of this node */
          s.lastNode = n.id;
          const calls = (s.calls || 0) + r.calls;
          if (calls) s.mean_us = (s.mean_us * (s.calls || 0) + r.mean_us * r.calls) / calls;
          s.calls = calls;
          s.failed = (s.failed || 0) + r.failed;
          s.most_us = Math.max(s.most_us, r.longest_us || 0);
        }
        if (left <= 0) break;
      }
      all = [...by.values()].filter(s => {
        const base = s.name.endsWith(DESCRIBE) && by.get(s.name.slice(0, -DESCRIBE.length));
        if (base) base.described = true;
        return !base;
      }).sort((a, b) => (a.name < b.name ? -1 : 1));
      failure = null;
    } catch (e) {
      if (!e.kind) console.error(e);
      failure = e;
    }
    at = Date.now();
    busy = false;
    draw();
    describe();
  }

  /* A JSON schema of the arguments, or {"description": TEXT, "args": SCHEMA}. */
  async function readAbout(s) {
    if (about.has(s.name) || !s.described || !callable || about.size >= MOST_ABOUT) return;
    about.set(s.name, null);
    try {
      const j = JSON.parse((await api.post(api.path('call', s.name + DESCRIBE), '')).text);
      if (!j || typeof j !== 'object') return;
      const args = [j.args, j.arguments, j.input, j.schema, j.properties ? j : null].find(a => a && typeof a === 'object');
      about.set(s.name, {description: typeof j.description === 'string' ? j.description.slice(0, 2000) : '', args});
    } catch (e) {
      if (!e.kind) return; /* not JSON */
      if (e.kind === 'missing' && !e.code) callable = false;
      if (e.kind === 'gone' || e.kind === 'limited' || e.kind === 'silent') about.delete(s.name);
    }
  }

  /* Of the rows that are seen. */
  async function describe() {
    const [from, to] = list.seen();
    let asked = 0;
    for (const s of rows.slice(from, to)) {
      if (asked >= ABOUT_AT_ONCE || !callable) break;
      if (about.has(s.name) || !s.described) continue;
      asked++;
      await readAbout(s);
    }
    if (asked) list.draw();
  }

  function draw() {
    rows = all.filter(s => !words || s.name.toLowerCase().includes(words) || whoOf(s).toLowerCase().includes(words) || wordsOf(s).toLowerCase().includes(words));
    show(none, !rows.length && at > 0);
    say(none.children[0], words ? 'No such service' : 'No services');
    show(list.root, rows.length > 0);
    list.setTotal(rows.length);
    say(state, failure ? failure.message : !at ? 'Asking the node …' : fmt.plural(rows.length, 'procedure') + (cutOff ? '; ' + fmt.count(cutOff) + ' further registrations are not shown' : ''));
  }

  async function detail(i) {
    const s = rows[i];
    if (!s) return;
    await readAbout(s);
    const body = el('div');
    body.append(el('p', {class: 'about', text: wordsOf(s) || (about.get(s.name) ? 'It says what it takes.' : 'It says nothing of itself; macula serve --describe FILE would.')}));
    body.append(el('h3', {text: 'Served by'}));
    body.append(el('ul', {class: 'providers'}, s.providers.slice(0, 50).map(p => el('li', {},
      el('span', {class: 'name', text: fmt.cut(p.name || fmt.id(p.id), 60)}),
      el('span', {class: 'quiet', text: 'at ' + fmt.cut(model.label(p.node), 24) + ', for ' + fmt.duration(p.age_s) + (p.calls ? ', ' + fmt.plural(p.calls, 'call') + ', typically ' + fmt.micros(p.mean_us) : '')})))));
    body.append(el('h3', {text: 'Call it'}), callForm(s));
    page.drawer(fmt.cut(s.name, 80), body, list.root);
  }

  function callForm(s) {
    const args = schemaForm(about.get(s.name) && about.get(s.name).args);
    const said = el('p', {class: 'quiet', role: 'status'});
    const result = el('pre', {class: 'result mono', tabindex: '0', hidden: true, 'aria-label': 'Result'});
    const go = button('Call', null, {type: 'submit', kind: 'primary'});
    return el('form', {class: 'stacked', on: {submit: async e => {
      e.preventDefault();
      let value;
      try {
        value = args.read();
      } catch (wrong) {
        say(said, wrong.message);
        return;
      }
      go.disabled = true;
      say(said, 'Calling …');
      show(result, false);
      const began = performance.now();
      try {
        const {text} = await api.post(api.path('call', s.name), value === undefined ? '' : value);
        let pretty = text;
        try {
          pretty = JSON.stringify(JSON.parse(text), null, 2);
        } catch { /* shown as it is */ }
        say(result, pretty.length > RESULT ? pretty.slice(0, RESULT) + '\n… ' + fmt.count(pretty.length - RESULT) + ' characters more' : pretty);
        show(result, true);
        say(said, 'Answered in ' + fmt.micros((performance.now() - began) * 1000) + ', the browser\'s way included.');
      } catch (failed) {
        say(said, failed.kind === 'missing' && !failed.code ? 'This node calls nothing over HTTP (/call): a later version of maculad does.' : (failed.code ? failed.code + ': ' : '') + failed.message);
      }
      go.disabled = false;
    }}}, args.root, go, said, result);
  }

  return {
    root, title: 'Services', update: read,
    scoped() {
      all = [];
      at = 0;
      draw();
      read();
    },
    enter() {
      at = 0;
      callable = true;
    },
    leave() {
      all = rows = [];
      about = new Map();
    },
  };
}
