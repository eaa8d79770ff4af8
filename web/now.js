/* Now: rates, latency, the longest turn; what was lost or refused, who, and which key raises the limit. */
import {chart, spark} from './chart.js';
import {button, el, empty, keyed, panel, say, segmented, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {model} from './model.js';

function tile(name, tone) {
  const value = el('div', {class: 'tile-value num'});
  const note = el('div', {class: 'tile-note num'});
  const line = spark(tone);
  const root = el('div', {class: 'tile'}, el('div', {class: 'tile-name', text: name}), value, note, line);
  root.update = (text, under, points, top) => {
    say(value, text);
    say(note, under);
    line.update(points, top);
  };
  return root;
}

/* "20 ms" of some figure of each node: the worst, and whose. */
function worst(read, format) {
  const [v, who] = model.most(read);
  return format(v) + (who && model.scope === 'all' && model.nodes.size > 1 ? ' at ' + fmt.cut(who.label, 20) : '');
}

function figures(rows) {
  const list = el('dl', {class: 'figures'});
  const cells = rows.map(([name, read]) => {
    const value = el('dd', {class: 'num'});
    list.append(el('div', {}, el('dt', {text: name}), value));
    return [value, read];
  });
  list.update = () => cells.forEach(([cell, read]) => say(cell, read()));
  return list;
}

const calls = n => n.status.calls;

export default function () {
  let range = 'short';
  const tiles = {
    published: tile('Published', 'a'), delivered: tile('Delivered', 'b'), clients: tile('Clients', 'c'), memory: tile('Memory', 'd'),
  };
  const rates = chart({label: 'Messages a second', format: fmt.rate, least: 10,
    series: [{name: 'published', tone: 'a', area: true}, {name: 'delivered', tone: 'b'}, {name: 'dropped', tone: 'bad'}]});
  const turns = chart({label: 'How long turns and calls take', format: fmt.micros, least: 1000,
    series: [{name: 'turns, 99 of 100', tone: 'c', area: true}, {name: 'longest turn', tone: 'd'}, {name: 'calls, 99 of 100', tone: 'b'}]});
  const pick = segmented('Time shown', [['short', '6 min'], ['long', '1 h']], range, v => {
    range = v;
    update();
  });
  const latency = figures([
    ['Longest turn', () => worst(n => n.status.turns && n.status.turns.longest_us, fmt.micros)],
    ['Spent on', () => {
      const [, who] = model.most(n => n.status.turns && n.status.turns.longest_us);
      return who ? who.status.turns.cause || '–' : '–';
    }],
    ['Turns over 5 ms', () => {
      const late = model.total(n => n.status.turns && n.status.turns.over_5_ms);
      return fmt.count(late) + ' of ' + fmt.short(model.total(n => n.status.turns && n.status.turns.count));
    }],
    ['Slowest link', () => {
      let most = NaN;
      for (const n of model.inScope()) for (const p of model.links.get(n.id) || []) if (p.rtt_us > most || (p.rtt_us !== null && Number.isNaN(most))) most = p.rtt_us;
      return fmt.micros(most);
    }],
    ['Calls', () => fmt.rate(model.rate('calls'))],
    ['A call: half, 99 of 100', () => fmt.micros(model.most(n => calls(n) && calls(n).p50_us)[0]) + ', ' + fmt.micros(model.most(n => calls(n) && calls(n).p99_us)[0])],
    ['Calls that failed', () => {
      const all = model.total(n => calls(n) && calls(n).calls);
      return Number.isNaN(all) ? '–' : fmt.count(model.total(n => calls(n) && calls(n).failed)) + ' of ' + fmt.short(all);
    }],
  ]);
  const lostBody = el('tbody');
  const lostTable = el('table', {class: 'table lost'}, el('thead', {}, el('tr', {},
    el('th', {scope: 'col', text: 'What'}), el('th', {scope: 'col', class: 'right', text: 'Lately'}), el('th', {scope: 'col', class: 'right', text: 'Since start'}),
    el('th', {scope: 'col', text: 'Raised by'}), el('th', {scope: 'col', text: 'Where'}))), lostBody);
  const nothing = empty('Nothing was lost or refused', 'Every message that was taken has been delivered, and every request was within its limit.');
  nothing.classList.add('good');
  const lostState = el('span', {class: 'badge'});
  const whoBody = el('ul', {class: 'who'});
  const whoNone = el('p', {class: 'quiet', text: 'No client lost anything that it still shows.'});
  const limits = el('div', {class: 'limits'});
  const gone = el('div');
  const wait = el('div', {class: 'waiting', text: 'Asking the node …'});
  const body = el('div', {class: 'view-body'},
    gone,
    el('div', {class: 'tiles'}, Object.values(tiles)),
    el('div', {class: 'columns wide-left'},
      panel('Messages', {tools: pick, id: 'h-rates'}, rates),
      panel('Latency', {id: 'h-latency'}, turns, latency)),
    el('div', {class: 'columns wide-left'},
      panel('Lost or refused', {note: lostState, id: 'h-lost'}, nothing, el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'What was lost or refused'}, lostTable)),
      el('div', {class: 'column'},
        panel('Who lost messages', {id: 'h-who'}, whoBody, whoNone),
        panel('Nearest to their limit', {id: 'h-limits'}, limits))));
  const root = el('div', {class: 'view now'}, wait, body);

  function lost() {
    const list = model.lost().slice(0, 40);
    const lately = list.reduce((n, l) => n + l.lately, 0);
    show(nothing, !list.length);
    show(lostTable.parentElement, list.length > 0);
    set(lostState, 'class', 'badge ' + (lately ? 'bad' : list.length ? 'warn' : 'good'));
    say(lostState, lately ? fmt.short(lately) + ' in the last minutes' : list.length ? 'none lately' : 'none');
    keyed(lostBody, list, l => l.name,
      () => el('tr', {}, el('td'), el('td', {class: 'right num'}), el('td', {class: 'right num'}), el('td', {class: 'keys'}), el('td', {class: 'quiet'})),
      (tr, l) => {
        const [what, recent, all, key, where] = tr.children;
        say(what, fmt.cut(l.what || l.name, 120));
        say(recent, l.lately ? '+' + fmt.short(l.lately) : '0');
        set(recent, 'class', 'right num' + (l.lately ? ' loud' : ''));
        say(all, fmt.count(l.count));
        keyed(key, (l.key || '').split(' ').filter(Boolean), k => k, () => el('code'), (c, k) => say(c, k));
        if (!l.key && !key.childElementCount) say(key, '–');
        say(where, l.nodes.slice(0, 3).map(n => fmt.cut(n, 16)).join(', ') + (l.nodes.length > 3 ? ' +' + (l.nodes.length - 3) : ''));
      });
  }

  function who() {
    const list = model.losers().slice(0, 6);
    show(whoNone, !list.length);
    keyed(whoBody, list, c => c.node + c.instance + c.id,
      () => el('li', {}, el('span', {class: 'name'}), el('span', {class: 'quiet'}), el('b', {class: 'num'})),
      (li, c) => {
        say(li.children[0], fmt.cut(c.name || fmt.id(c.id), 40));
        say(li.children[1], c.door + (model.nodes.size > 1 ? ' at ' + fmt.cut(model.label(c.node), 16) : ''));
        say(li.children[2], fmt.short(c.dropped));
      });
  }

  function nearest() {
    const rows = model.rows().filter(r => r.limit_bytes && (r.keys || r.name === 'unaccounted'))
      .map(r => ({...r, part: Math.max(r.bytes / r.limit_bytes, r.limit ? r.entries / r.limit : 0)}))
      .sort((a, b) => b.part - a.part).slice(0, 5);
    keyed(limits, rows, r => r.name,
      () => el('div', {class: 'limit'}, el('span', {class: 'name'}), el('b', {class: 'num'}), el('div', {class: 'meter', 'aria-hidden': 'true'}, el('i', {class: 'used'}))),
      (div, r) => {
        say(div.children[0], r.what || r.name);
        say(div.children[1], fmt.percent(r.part));
        set(div.children[2], 'data-level', r.part > 0.95 ? 'bad' : r.part > 0.8 ? 'warn' : 'good');
        div.children[2].style.setProperty('--used', (100 * Math.min(1, r.part)).toFixed(1) + '%');
      });
  }

  function update() {
    const ready = model.answering().length > 0;
    show(wait, !ready);
    show(body, ready);
    if (!ready) {
      const n = model.inScope()[0];
      say(wait, n && n.error ? n.label + ': ' + n.error.message : 'Asking the node …');
      return;
    }
    const t = model;
    const clients = t.total(n => n.status.clients.count);
    const rss = t.total(n => n.status.memory.rss_bytes);
    const plan = t.total(n => n.status.memory.plan_bytes);
    tiles.published.update(fmt.rate(t.rate('published')), fmt.short(t.total(n => n.status.messages.published)) + ' since start', t.points('published', 'short'));
    tiles.delivered.update(fmt.rate(t.rate('delivered')), fmt.short(t.total(n => n.status.messages.delivered)) + ' since start', t.points('delivered', 'short'));
    tiles.clients.update(fmt.count(clients), 'of ' + fmt.count(t.total(n => n.status.clients.limit)), t.points('clients', 'short'));
    tiles.memory.update(fmt.bytes(rss), 'of ' + fmt.bytes(plan) + ' planned', t.points('rss_bytes', 'short'));
    const over = {from: Date.now() - (range === 'short' ? 360e3 : 3600e3), to: Date.now()};
    rates.update(['published', 'delivered', 'dropped'].map(k => t.points(k, range)), over);
    turns.update(['turn_p99_us', 'turn_longest_us', 'call_p99_us'].map(k => t.points(k, range, true)), over);
    latency.update();
    lost();
    who();
    nearest();
    keyed(gone, model.inScope().filter(n => n.error || n.status && !n.status.ready), n => n.id, () => el('p', {class: 'notice warn'}),
      (p, n) => say(p, fmt.cut(n.label, 40) + (n.error ? ' does not answer: ' + n.error.message : ' is not ready: ' + (n.status.note || 'it takes no new clients'))));
  }

  return {root, title: 'Now', update};
}
