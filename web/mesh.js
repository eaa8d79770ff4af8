/* Mesh: the nodes and their links as a picture of ours, and the same as a table. */
import {get} from './api.js';
import {el, keyed, panel, say, set, show, svg} from './dom.js';
import * as fmt from './fmt.js';
import {model} from './model.js';

const DRAWN = 48; /* nodes; of more only the ones with the most trouble and the first ones */
const LINES = 500;
const SPREAD_MS = 5000;

const quality = state => (/acknowledges nothing|dead/.test(state) ? 'bad' : /suspect|not reachable|dialling/.test(state) ? 'warn' : /connected|this node|alive/.test(state) ? 'good' : 'idle');

/* Each pair of nodes once, with what either end says of it: {a, b, state, rtt, queued, paced, via, kind} */
function gather() {
  const links = new Map();
  for (const [from, peers] of model.links)
    for (const p of peers) {
      const [a, b] = from < p.id ? [from, p.id] : [p.id, from];
      const is = p.rtt_us !== null && p.rtt_us !== undefined;
      if (!is && p.state === 'dead') continue;
      let l = links.get(a + b);
      if (!l) links.set(a + b, (l = {key: a + b, a, b, state: p.state, rtt: NaN, queued: 0, paced: 0, pacing: 0, via: '', linked: false, bytes: 0}));
      if (quality(p.state) === 'bad' || (quality(p.state) === 'warn' && quality(l.state) !== 'bad')) l.state = p.state;
      if (is) {
        l.linked = true;
        l.rtt = Number.isNaN(l.rtt) ? p.rtt_us : Math.max(l.rtt, p.rtt_us);
        l.queued += p.queued_bytes || 0;
        l.bytes += p.memory_bytes || 0;
      }
      l.paced += p.paced || 0;
      l.pacing += p.pacing || 0;
      if (p.gateway) l.via = p.gateway;
    }
  return [...links.values()];
}

export default function () {
  let chosen = null;
  let asking = false;
  let asked = 0;
  const lines = svg('g', {class: 'mesh-links'});
  const tags = svg('g', {class: 'mesh-tags'});
  const dots = svg('g', {class: 'mesh-nodes'});
  const picture = svg('svg', {class: 'mesh-picture', role: 'group', 'aria-label': 'Nodes and links'}, lines, tags, dots);
  const summary = el('span', {class: 'quiet'});
  const detail = el('div', {class: 'mesh-detail'});
  const tbody = el('tbody');
  const noLinks = el('p', {class: 'quiet', text: 'This node has no links: it is on its own. Start another with --join.'});
  const more = el('p', {class: 'quiet'});
  const table = el('table', {class: 'table'}, el('thead', {}, el('tr', {},
    ['Between', 'State'].map(t => el('th', {scope: 'col', text: t})),
    ['Round trip', 'Queue', 'Paced'].map(t => el('th', {scope: 'col', class: 'right', text: t})), el('th', {scope: 'col', text: 'By way of'}))), tbody);
  const root = el('div', {class: 'view mesh'},
    el('div', {class: 'view-body'},
      el('div', {class: 'columns wide-left'},
        panel('Nodes and links', {note: summary, id: 'h-mesh'}, picture, el('div', {class: 'legend below'},
          [['good', 'connected'], ['warn', 'suspect, or reached through another'], ['bad', 'dead, or acknowledges nothing'], ['idle', 'not asked']]
            .map(([k, t]) => el('span', {class: 'key'}, el('i', {class: 'dot ' + k}), el('span', {text: t}))))),
        panel('Node', {id: 'h-node'}, detail)),
      panel('Links', {id: 'h-links'}, noLinks, el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'All links'}, table), more)));
  let size = [0, 0];
  new ResizeObserver(() => {
    const box = picture.getBoundingClientRect();
    if (Math.abs(box.width - size[0]) < 1 && Math.abs(box.height - size[1]) < 1) return;
    size = [box.width, box.height];
    update();
  }).observe(picture);

  /* The links of all nodes that are drawn, one node after another. */
  async function spread() {
    if (asking || Date.now() - asked < SPREAD_MS) return;
    asking = true;
    for (const n of drawn()) {
      if (n.home || n.error || n.state === 'dead') continue;
      try {
        const j = await get('/api/peers', {node: n.id, limit: 64});
        if (n.status && Array.isArray(j.peers) && !j.peers.some(p => p.id === n.id)) model.links.set(n.id, j.peers);
      } catch (e) {
        model.links.delete(n.id);
        if (!e.kind) console.error(e);
        if (e.kind === 'gone' || e.kind === 'expired') break;
      }
    }
    for (const id of [...model.links.keys()]) if (!model.nodes.has(id)) model.links.delete(id);
    asked = Date.now();
    asking = false;
    update();
  }

  function drawn() {
    const all = [...model.nodes.values()];
    if (all.length <= DRAWN) return all.sort((a, b) => (a.id < b.id ? -1 : 1));
    const rank = n => (n.home ? 0 : quality(n.state) === 'bad' ? 1 : quality(n.state) === 'warn' ? 2 : 3);
    return all.sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1)).slice(0, DRAWN).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  const stateOf = n => (n.home ? (n.status && !n.status.ready ? 'not ready' : 'this node') : n.error && n.error.kind === 'silent' ? 'does not answer' : n.state);
  const levelOf = n => (n.error && n.error.kind === 'silent' ? 'warn' : quality(stateOf(n)));

  function describe(n) {
    const s = n.status && !n.error ? n.status : null;
    const rows = [
      ['Name', n.name || '–'], ['Id', n.id], ['State', stateOf(n)], ['Version', s ? s.version : '–'], ['Up for', s ? fmt.duration(s.uptime_s) : '–'],
      ['Realm', s ? s.realm : '–'], ['Address', s && s.mesh.address || '–'], ['Clients', s ? fmt.count(s.clients.count) + ' of ' + fmt.count(s.clients.limit) : '–'],
      ['Published', s ? fmt.rate(n.rates.published) : '–'], ['Memory', s ? fmt.bytes(s.memory.rss_bytes) + ' of ' + fmt.bytes(s.memory.plan_bytes) : '–'],
      ['Members', s ? s.mesh.members.alive + ' alive, ' + s.mesh.members.suspect + ' suspect, ' + s.mesh.members.dead + ' dead' : '–'],
    ];
    if (s && s.certificate && s.certificate.remaining_s !== null) rows.push(['Certificate', 'for ' + fmt.duration(s.certificate.remaining_s)]);
    if (n.error) rows.push(['Why', n.error.message]);
    if (!detail.list) detail.append((detail.list = el('dl', {class: 'pairs'})));
    keyed(detail.list, rows, r => r[0], () => el('div', {}, el('dt'), el('dd')), (div, [k, v]) => {
      say(div.children[0], k);
      say(div.children[1], fmt.cut(v, 200));
      set(div.children[1], 'class', k === 'Id' ? 'mono wrap' : 'num');
    });
  }

  function update() {
    spread();
    const nodes = drawn();
    const links = gather();
    const [w, h] = size;
    const all = model.nodes.size + model.left;
    say(summary, fmt.plural(all, 'node') + ', ' + fmt.plural(links.filter(l => l.linked).length, 'link') + (all > nodes.length ? '; ' + nodes.length + ' drawn' : ''));
    if (!chosen || !model.nodes.has(chosen)) chosen = model.home ? model.home.id : null;
    if (chosen) describe(model.nodes.get(chosen));
    if (w && h) paint(nodes, links, w, h);
    const rows = links.filter(l => l.linked || l.via || quality(l.state) !== 'idle').sort((x, y) => y.queued - x.queued || (x.key < y.key ? -1 : 1));
    show(noLinks, !rows.length);
    show(table.parentElement, rows.length > 0);
    show(more, rows.length > 200);
    say(more, 'The first 200 of ' + rows.length + ' are listed, those with the longest queues first.');
    keyed(tbody, rows.slice(0, 200), l => l.key,
      () => el('tr', {}, el('td'), el('td', {}, el('i', {class: 'dot'}), el('span')), el('td', {class: 'right num'}), el('td', {class: 'right num'}), el('td', {class: 'right num'}), el('td', {class: 'quiet'})),
      (tr, l) => {
        const c = tr.children;
        say(c[0], fmt.cut(model.label(l.a), 32) + ' – ' + fmt.cut(model.label(l.b), 32));
        set(c[1].firstChild, 'class', 'dot ' + quality(l.state));
        say(c[1].lastChild, l.state === 'connected' && !l.linked ? 'known' : l.state);
        say(c[2], fmt.micros(l.rtt));
        say(c[3], fmt.bytes(l.queued));
        set(c[3], 'class', 'right num' + (l.queued > 1 << 16 ? ' loud' : ''));
        say(c[4], l.paced || l.pacing ? fmt.plural(l.paced + l.pacing, 'publisher') : '–');
        say(c[5], l.via ? fmt.cut(model.label(l.via), 24) : '');
      });
  }

  function choose(id) {
    chosen = id;
    update();
  }

  function paint(nodes, links, w, h) {
    set(picture, 'viewBox', '0 0 ' + w + ' ' + h);
    const many = nodes.length > 14;
    const rx = Math.max(40, w / 2 - (many ? 30 : Math.min(110, w / 5)));
    const ry = Math.max(40, h / 2 - (many ? 34 : 52));
    const at = new Map(nodes.map((n, i) => {
      const turn = (2 * Math.PI * i) / nodes.length - Math.PI / 2;
      return [n.id, nodes.length === 1 ? [w / 2, h / 2] : [w / 2 + rx * Math.cos(turn), h / 2 + ry * Math.sin(turn)]];
    }));
    const seen = links.filter(l => l.linked && at.has(l.a) && at.has(l.b)).sort((a, b) => b.queued - a.queued).slice(0, LINES);
    const paced = l => l.paced + l.pacing > 0;
    keyed(lines, seen, l => l.key, () => svg('line', {}, svg('title')), (line, l) => {
      const [x1, y1] = at.get(l.a);
      const [x2, y2] = at.get(l.b);
      set(line, 'class', 'link ' + quality(l.state) + (paced(l) ? ' paced' : '') + (chosen && (l.a === chosen || l.b === chosen) ? ' near' : ''));
      for (const [k, v] of [['x1', x1], ['y1', y1], ['x2', x2], ['y2', y2]]) set(line, k, v.toFixed(1));
      set(line, 'stroke-width', (1.5 + Math.min(5, Math.log2(1 + l.queued / 4096))).toFixed(1));
      say(line.firstChild, model.label(l.a) + ' – ' + model.label(l.b) + ': ' + l.state + ', ' + fmt.micros(l.rtt) + ', ' + fmt.bytes(l.queued) + ' wait' + (paced(l) ? ', paced' : ''));
    });
    const told = many || w < 420 ? [] : seen.filter(l => nodes.length <= 6 || l.a === chosen || l.b === chosen);
    keyed(tags, told, l => l.key, () => svg('g', {}, svg('rect', {rx: 8, height: 16}), svg('text', {'text-anchor': 'middle'})), (g, l) => {
      const [x1, y1] = at.get(l.a);
      const [x2, y2] = at.get(l.b);
      const text = fmt.micros(l.rtt) + (l.queued ? ' · ' + fmt.bytes(l.queued) : '') + (paced(l) ? ' · paced' : '');
      const width = text.length * 6.1 + 12;
      const part = 0.38; /* not in the middle, where lines cross */
      const x = x1 + (x2 - x1) * part;
      const y = y1 + (y2 - y1) * part;
      for (const [k, v] of [['x', (x - width / 2).toFixed(1)], ['y', (y - 8).toFixed(1)], ['width', width.toFixed(1)]]) set(g.firstChild, k, v);
      set(g.lastChild, 'x', x.toFixed(1));
      set(g.lastChild, 'y', (y + 4).toFixed(1));
      say(g.lastChild, text);
    });
    const wide = many ? 0 : Math.min(150, Math.max(84, w / 4.2));
    keyed(dots, nodes, n => n.id, n => {
      const g = svg('g', {tabindex: '0', role: 'button', on: {
        click: () => choose(n.id), keydown: e => {
          if (e.key !== 'Enter' && e.key !== ' ') return;
          e.preventDefault();
          choose(n.id);
        },
      }}, svg('rect', {rx: 9}), svg('circle', {r: 4.5}), svg('text', {class: 'mesh-name'}), ' ', svg('text', {class: 'mesh-sub num'}));
      return g;
    }, (g, n) => {
      const [x, y] = at.get(n.id);
      const [rect, dot, name, sub] = g.children;
      const level = levelOf(n);
      set(g, 'class', 'mesh-node ' + level + (n.id === chosen ? ' chosen' : '') + (n.home ? ' home' : ''));
      set(g, 'aria-pressed', String(n.id === chosen));
      set(g, 'transform', 'translate(' + x.toFixed(1) + ' ' + y.toFixed(1) + ')');
      const box = many ? [-11, -11, 22, 22] : [-wide / 2, -23, wide, 46];
      ['x', 'y', 'width', 'height'].forEach((k, i) => set(rect, k, box[i].toFixed(1)));
      set(rect, 'rx', many ? 11 : 9);
      set(dot, 'cx', many ? 0 : (-wide / 2 + 14).toFixed(1));
      set(dot, 'cy', many ? 0 : -6);
      set(name, 'x', many ? 0 : (-wide / 2 + 25).toFixed(1));
      set(name, 'y', many ? 24 : -2);
      set(name, 'text-anchor', many ? 'middle' : 'start');
      const room = many ? 8 : Math.floor((wide - 32) / 7.2);
      say(name, many && nodes.length > 30 ? '' : fmt.cut(n.label, room));
      set(sub, 'x', (-wide / 2 + 25).toFixed(1));
      set(sub, 'y', 14);
      say(sub, many ? '' : n.error || !n.status ? fmt.cut(stateOf(n), Math.floor((wide - 32) / 5.8)) : fmt.cut(fmt.plural(n.status.clients.count, 'client') + (wide > 120 ? ' · ' + fmt.rate(n.rates.published) : ''), Math.floor((wide - 28) / 5.6)));
      set(g, 'aria-label', [name.textContent, sub.textContent, name.textContent === n.label ? '' : fmt.cut(n.label, 60), stateOf(n)].filter(Boolean).join(', ').replace(', ', ' '));
    });
  }

  return {root, title: 'Mesh', update};
}
