/* Memory: each row against its plan, live and over the last hour. */
import {meter, spark, stack} from './chart.js';
import {el, keyed, panel, say, segmented, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {model} from './model.js';

const TONES = ['a', 'b', 'c', 'd', 'e', 'f'];
const ORDERS = {
  used: (a, b) => b.bytes - a.bytes,
  share: (a, b) => b.bytes / (b.limit_bytes || 1) - a.bytes / (a.limit_bytes || 1),
  plan: (a, b) => b.limit_bytes - a.limit_bytes,
  refused: (a, b) => b.refused + b.evicted - (a.refused + a.evicted) || b.bytes - a.bytes,
};

function cell(kind, label) {
  return el('td', {class: kind, 'data-label': label});
}

export default function () {
  let order = 'used';
  const total = el('div', {class: 'total'});
  const figures = {};
  for (const [key, name] of [['rss', 'Resident'], ['accounted', 'In the rows'], ['plan', 'Plan: the most that this can ever be'], ['max', 'memory_max']]) {
    figures[key] = el('dd', {class: 'num'});
    total.append(el('div', {}, el('dt', {text: name}), figures[key]));
  }
  const whole = meter();
  const bar = stack('What is in use');
  const legend = el('div', {class: 'legend below'});
  const tbody = el('tbody');
  const pick = segmented('Order of the rows', [['used', 'In use'], ['share', 'Share of plan'], ['plan', 'Plan'], ['refused', 'Refused']], order, v => {
    order = v;
    update();
  });
  const table = el('table', {class: 'table memory-rows'}, el('thead', {}, el('tr', {},
    el('th', {scope: 'col', text: 'Row'}), el('th', {scope: 'col', text: 'In use of its plan'}), el('th', {scope: 'col', class: 'right', text: 'Peak'}),
    el('th', {scope: 'col', class: 'right', text: 'Entries'}), el('th', {scope: 'col', class: 'right', text: 'Refused'}), el('th', {scope: 'col', class: 'right', text: 'Made room'}),
    el('th', {scope: 'col', text: 'Last hour'}))), tbody);
  const past = el('span', {class: 'quiet'});
  const wait = el('div', {class: 'waiting', text: 'Asking the node …'});
  const body = el('div', {class: 'view-body'},
    panel('All of it', {id: 'h-all'}, el('dl', {class: 'figures totals'}, [...total.children]), whole, el('h3', {text: 'What is in use'}), bar, legend),
    panel('Each row against its plan', {tools: pick, note: past, id: 'h-rows'}, table));
  const root = el('div', {class: 'view memory'}, wait, body);

  function make() {
    const name = el('span', {class: 'row-name'});
    const what = el('span', {class: 'quiet what'});
    const keys = el('span', {class: 'keys'});
    const used = el('b', {class: 'num'});
    const plan = el('span', {class: 'quiet num'});
    const part = el('span', {class: 'quiet num part-text'});
    const m = meter();
    const line = spark('a');
    const cells = [cell('', ''), cell('wide', 'In use'), cell('right num', 'Peak'), cell('right num', 'Entries'), cell('right num', 'Refused'), cell('right num', 'Made room'), cell('sparked', 'Last hour')];
    cells[0].append(name, what, keys);
    cells[1].append(el('div', {class: 'meter-words'}, used, plan, part), m);
    cells[6].append(line);
    const tr = el('tr', {}, cells);
    tr.parts = {name, what, keys, used, plan, part, m, line, cells};
    return tr;
  }

  function fill(tr, r) {
    const p = tr.parts;
    say(p.name, r.name);
    say(p.what, r.what || '');
    keyed(p.keys, (r.keys || '').split(' ').filter(Boolean), k => k, () => el('code'), (c, k) => say(c, k));
    say(p.used, fmt.bytes(r.bytes));
    say(p.plan, 'of ' + fmt.bytes(r.limit_bytes));
    say(p.part, fmt.percent(r.limit_bytes ? r.bytes / r.limit_bytes : NaN));
    p.m.update(r.bytes, r.peak_bytes, r.limit_bytes);
    if (!r.keys && r.name !== 'unaccounted') set(p.m, 'data-level', 'good'); /* of a fixed size: it is to be full */
    say(p.cells[2], fmt.bytes(r.peak_bytes));
    say(p.cells[3], fmt.count(r.entries) + (r.limit ? ' / ' + fmt.short(r.limit) : ''));
    say(p.cells[4], fmt.count(r.refused));
    set(p.cells[4], 'class', 'right num' + (r.refused ? ' loud' : ' quiet'));
    say(p.cells[5], fmt.count(r.evicted + r.expired));
    set(p.cells[5], 'title', fmt.count(r.evicted) + ' made room for others, of ' + fmt.count(r.expired) + ' the time was over');
    p.line.update(model.points('memory.' + r.name, model.longHas() ? 'long' : 'short'));
  }

  function update() {
    const ready = model.answering().length > 0;
    show(wait, !ready);
    show(body, ready);
    if (!ready) return;
    const m = n => n.status.memory;
    const rows = model.rows().sort((a, b) => ORDERS[order](a, b) || a.name.localeCompare(b.name));
    const plan = model.total(n => m(n).plan_bytes);
    say(figures.rss, fmt.bytes(model.total(n => m(n).rss_bytes)));
    say(figures.accounted, fmt.bytes(model.total(n => m(n).accounted_bytes)));
    say(figures.plan, fmt.bytes(plan));
    const max = model.total(n => m(n).memory_max_bytes || NaN);
    say(figures.max, max ? fmt.bytes(max) : 'not set');
    whole.update(model.total(n => m(n).rss_bytes), NaN, plan);
    const big = [...rows].sort(ORDERS.used).slice(0, TONES.length);
    const parts = big.map((r, i) => ({name: r.name, value: r.bytes, tone: TONES[i]}));
    const rest = rows.reduce((n, r) => n + r.bytes, 0) - big.reduce((n, r) => n + r.bytes, 0);
    parts.push({name: 'all others', value: rest, tone: 'rest'});
    bar.update(parts, parts.reduce((n, p) => n + p.value, 0), fmt.bytes);
    keyed(legend, parts, p => p.name, () => el('span', {}, el('i'), el('span'), el('b', {class: 'num'})), (s, p) => {
      set(s, 'class', 'key tone-' + p.tone);
      say(s.children[1], p.name);
      say(s.children[2], fmt.bytes(p.value));
    });
    keyed(tbody, rows, r => r.name, make, fill);
    const none = model.answering().some(n => n.past === 'none');
    say(past, none ? 'Its past begins when this page was opened' : '');
  }

  return {root, title: 'Memory', update};
}
