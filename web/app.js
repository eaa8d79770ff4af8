/* The frame: navigation, the chooser of the node, the theme; the banner that says when the node is gone; which view is shown. */
import * as api from './api.js';
import {el, icon, keyed, say, set, show} from './dom.js';
import * as fmt from './fmt.js';
import {brand, byLink, loginView, logout, session, takeLink} from './login.js';
import {model} from './model.js';
import clients from './clients.js';
import events from './events.js';
import memory from './memory.js';
import mesh from './mesh.js';
import now from './now.js';
import services from './services.js';
import topics from './topics.js';

const VIEWS = {now, memory, mesh, clients, topics, services, events};
const made = new Map();
let current = null;
let name = '';
let due = 0;
let goneSince = 0;
let goneTimer = 0;

/* ---- the drawer: one thing in detail ---- */
const page = {
  /* back: what has the focus afterwards; closed: called then */
  drawer(title, body, back, closed) {
    say(drawerTitle, title);
    drawerBody.replaceChildren(body);
    drawer.back = back;
    drawer.closed = closed;
    if (!drawer.open) drawer.showModal();
    drawerBody.scrollTop = 0;
  },
  closeDrawer() {
    if (drawer.open) drawer.close();
  },
};
const drawerTitle = el('h2', {id: 'drawer-title'});
const drawerBody = el('div', {class: 'drawer-body', tabindex: '0', role: 'region', 'aria-labelledby': 'drawer-title'});
const closer = el('button', {type: 'button', class: 'button icon-only', 'aria-label': 'Close', on: {click: () => page.closeDrawer()}}, icon('close'));
const drawer = el('dialog', {class: 'drawer', 'aria-labelledby': 'drawer-title', on: {
  close: () => {
    drawerBody.replaceChildren();
    if (drawer.closed) drawer.closed();
    if (drawer.back) drawer.back.focus();
    drawer.closed = drawer.back = null;
  },
  click: e => {
    if (e.target === drawer) page.closeDrawer();
  },
}}, el('header', {}, drawerTitle, closer), drawerBody);

/* ---- the frame ---- */
const chooser = el('select', {class: 'input chooser', 'aria-label': 'Node', on: {change: () => {
  model.choose(chooser.value);
  remember();
}}});
const health = el('span', {class: 'health', role: 'status'});
const who = el('span', {class: 'quiet who-am-i'});
const themeButton = el('button', {type: 'button', class: 'button icon-only', on: {click: flipTheme}});
const outButton = el('button', {type: 'button', class: 'button icon-only', 'aria-label': 'Log out', hidden: true, on: {click: leave}}, icon('out'));
const banner = el('div', {class: 'banner', role: 'alert', hidden: true});
const tabs = Object.keys(VIEWS).map(v => el('a', {href: '#/' + v, class: 'tab'}, icon(v), el('span', {text: v[0].toUpperCase() + v.slice(1)})));
const heading = el('h1', {class: 'hidden-text'});
const main = el('main', {id: 'main', tabindex: '-1'}, heading);
const frame = el('div', {class: 'frame'},
  el('button', {type: 'button', class: 'skip', text: 'Skip to the content', on: {click: () => main.focus()}}),
  el('header', {class: 'top'}, el('a', {class: 'home', href: '#/now', 'aria-label': 'Macula: now'}, brand(), el('span', {class: 'brand-name', text: 'Macula'})), chooser, health, el('span', {class: 'space'}), who, themeButton, outButton),
  el('nav', {class: 'side', 'aria-label': 'Views'}, tabs),
  banner, main, drawer);

/* ---- theme ---- */
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark';
function drawTheme() {
  set(themeButton, 'aria-label', isDark() ? 'Change to the light theme' : 'Change to the dark theme');
  themeButton.replaceChildren(icon(isDark() ? 'light' : 'dark'));
}
function flipTheme() {
  const theme = isDark() ? 'light' : 'dark';
  const system = dark.matches ? 'dark' : 'light';
  if (theme === system) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === system) localStorage.removeItem('macula-theme');
    else localStorage.setItem('macula-theme', theme);
  } catch { /* storage is off: for this page alone */ }
  drawTheme();
}
dark.addEventListener('change', drawTheme);

/* ---- routing: #/view?node=ID ---- */
function remember() {
  const node = model.scope === 'all' ? '' : '?node=' + model.scope.slice(0, 16);
  const hash = '#/' + name + node;
  if (location.hash !== hash) history.replaceState(null, '', hash);
  for (const t of tabs) set(t, 'href', t.getAttribute('href').split('?')[0] + node);
}

let wanted = ''; /* the node of the address, until it is known */
function route() {
  const [, view, query] = /^#\/(\w+)(?:\?(.*))?$/.exec(location.hash) || [];
  const node = query ? new URLSearchParams(query).get('node') : null;
  wanted = node && /^[0-9a-f]{8,64}$/.test(node) ? node : '';
  if (!wanted && query === undefined && model.scope !== 'all' && view && view !== name) wanted = model.scope;
  open(Object.hasOwn(VIEWS, view) ? view : 'now');
  choose();
}

function choose() {
  if (!wanted) return;
  const found = [...model.nodes.keys()].filter(id => id.startsWith(wanted));
  if (found.length !== 1) return;
  wanted = '';
  model.choose(found[0]);
}

function open(view) {
  if (view === name) return;
  if (current && current.leave) current.leave();
  page.closeDrawer();
  const first = !name;
  name = view;
  if (!made.has(view)) made.set(view, VIEWS[view](page));
  current = made.get(view);
  main.replaceChildren(heading, current.root);
  say(heading, current.title);
  for (const t of tabs) set(t, 'aria-current', t.getAttribute('href').split('?')[0] === '#/' + view ? 'page' : null);
  const tab = tabs.find(t => t.hasAttribute('aria-current'));
  if (tab) tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
  if (current.enter) current.enter();
  if (!first) main.focus({preventScroll: true});
  window.scrollTo(0, 0);
  update();
}

/* ---- what is shown of the model ---- */
function update() {
  due = 0;
  choose();
  const home = model.home;
  const nodes = [...model.nodes.values()].sort((a, b) => b.home - a.home || (a.label < b.label ? -1 : 1));
  const choices = nodes.length > 1 ? [{id: 'all', text: 'All ' + fmt.count(nodes.length + model.left) + ' nodes'}] : [];
  for (const n of nodes) choices.push({id: n.id, text: fmt.cut(n.label, 40) + (n.home ? ' (this node)' : n.state === 'dead' ? ' (dead)' : '')});
  keyed(chooser, choices, c => c.id, c => el('option', {value: c.id}), (o, c) => say(o, c.text));
  const value = nodes.length > 1 ? model.scope : home ? home.id : '';
  if (chooser.value !== value && document.activeElement !== chooser) chooser.value = value;
  show(chooser, nodes.length > 0);
  const trouble = model.inScope().filter(n => n.error || (n.status && !n.status.ready));
  const level = !api.isUp() ? 'bad' : trouble.length ? 'warn' : home ? 'good' : 'idle';
  set(health, 'class', 'health ' + level);
  say(health, !api.isUp() ? 'gone' : trouble.length ? fmt.plural(trouble.length, 'node') + ' in trouble' : home ? 'healthy' : '');
  document.title = (current ? current.title + ' · ' : '') + (home ? fmt.cut(home.label, 40) + ' · ' : '') + 'Macula';
  const s = model.session || {};
  say(who, s.user ? fmt.cut(s.user, 32) + (s.role ? ', ' + s.role : '') : s.open ? '' : s.role || '');
  show(outButton, !!(s.user || s.cookie || s.link));
  if (current) current.update();
}

function later() {
  if (!due) due = requestAnimationFrame(update);
}

/* ---- the node is gone; it is back ---- */
function drawGone() {
  show(banner, !api.isUp());
  if (api.isUp()) return;
  const s = Math.round((Date.now() - goneSince) / 1000);
  say(banner, 'The node does not answer' + (s > 1 ? ' since ' + fmt.duration(s) : '') + '. What you see is what it said last. Trying again …');
}
api.state.addEventListener('gone', () => {
  goneSince = Date.now();
  clearInterval(goneTimer);
  goneTimer = setInterval(drawGone, 1000);
  drawGone();
  later();
});
api.state.addEventListener('up', () => {
  clearInterval(goneTimer);
  drawGone();
  model.soon();
});
api.state.addEventListener('expired', () => {
  if (frame.isConnected) askLogin(model.session ? 'Your login has expired, or has ended: log in again.' : '');
});

/* ---- life ---- */
function askLogin(why) {
  model.forget();
  page.closeDrawer();
  if (current && current.leave) current.leave();
  current = null;
  name = '';
  made.clear();
  model.session = null;
  show(banner, false);
  const view = loginView(why, () => begin());
  document.body.replaceChildren(view.root);
  view.focus();
}

async function leave() {
  try {
    await logout();
  } catch { /* it is over in any case */ }
  askLogin('You have logged out.');
}

async function begin(why = '') {
  for (let wait = 1000; ; wait = Math.min(wait * 2, 8000)) {
    try {
      model.session = await session();
      break;
    } catch (e) {
      if (e.kind === 'expired' || e.kind === 'forbidden') return askLogin(why || (e.kind === 'forbidden' ? e.message : ''));
      document.body.replaceChildren(el('main', {class: 'login'}, el('div', {class: 'login-box'}, brand(), el('h1', {text: 'The node does not answer'}), el('p', {class: 'quiet', role: 'status', text: e.message + '. Trying again …'}))));
      await new Promise(resolve => setTimeout(resolve, wait));
    }
  }
  document.body.replaceChildren(frame);
  drawTheme();
  route();
  model.start();
  return undefined;
}

async function start() {
  const link = takeLink();
  let why = '';
  if (link)
    try {
      await byLink(link);
    } catch (e) {
      why = e.kind === 'missing' ? '' : 'This link does not work, or no longer: it works once, and for a short while. ' + (e.kind === 'gone' ? e.message : 'Ask for another one with macula dashboard.');
    }
  await begin(why);
}

model.addEventListener('change', later);
model.addEventListener('scope', () => {
  if (current && current.scoped) current.scoped();
  remember();
});
addEventListener('hashchange', route);
document.addEventListener('visibilitychange', () => {
  if (!frame.isConnected) return;
  if (document.hidden) model.stop();
  else model.start();
  if (current && current.seen) current.seen(!document.hidden);
});
start();
