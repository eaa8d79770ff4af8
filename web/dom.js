/* The only place where elements are made. Names that clients, topics and services chose themselves end as text or as the value of a
 * harmless attribute: there is no way to hand in markup. */
const SVG = 'http://www.w3.org/2000/svg';
const REFUSED = /^on|^style$|^src|^action$|^formaction$|^xlink/i;

function attribute(node, name, value) {
  if (value === undefined || value === null || value === false) {
    node.removeAttribute(name);
    return;
  }
  if (REFUSED.test(name)) throw new Error('no attribute for el: ' + name);
  if (name === 'href' && !String(value).startsWith('#')) throw new Error('links lead to views only');
  node.setAttribute(name, value === true ? '' : String(value));
}

function fill(node, props, kids) {
  for (const [name, value] of Object.entries(props)) {
    if (name === 'text') node.textContent = value;
    else if (name === 'on') for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (name === 'value') node.value = value;
    else attribute(node, name, value);
  }
  for (const kid of kids.flat()) if (kid !== null && kid !== undefined && kid !== false) node.append(kid);
  return node;
}

/* el('p', {class: 'x', text: name, on: {click: f}}, child, 'text', ...) */
export function el(tag, props = {}, ...kids) {
  return fill(document.createElement(tag), props, kids);
}

export function svg(tag, props = {}, ...kids) {
  return fill(document.createElementNS(SVG, tag), props, kids);
}

export function set(node, name, value) {
  const text = value === true ? '' : String(value);
  if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== text) attribute(node, name, value);
}

/* Writes only what is new, so that a selection and screen readers are left in peace. */
export function say(node, text) {
  const t = text === undefined || text === null ? '' : String(text);
  if (node.textContent !== t) node.textContent = t;
}

/* A custom property for the style sheet: through CSSOM, which the Content-Security-Policy allows. */
export function look(node, name, value) {
  if (node.style.getPropertyValue(name) !== String(value)) node.style.setProperty(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/* Keeps one child of parent an item, in the items' order; make(item) has to return an element, update(element, item) fills it. */
export function keyed(parent, items, key, make, update) {
  const old = parent.keyedChildren || new Map();
  const now = new Map();
  let at = parent.firstElementChild;
  for (const item of items) {
    const k = key(item);
    if (now.has(k)) continue;
    let node = old.get(k);
    old.delete(k);
    if (!node) node = make(item);
    now.set(k, node);
    update(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const node of old.values()) node.remove();
  parent.keyedChildren = now;
}

/* Our icons: strokes on a grid of 16. */
const ICONS = {
  now: 'M1.5 9h3l2-5.5 3 9 2-3.5h3',
  memory: 'M3 3.5h10M3 8h10M3 12.5h10M6 2v3M10.5 6.500v3M5 11v3',
  mesh: 'M8 3.5 3.5 12M8 3.5 12.5 12M3.5 12h9M8 2v3M2 12h3M11 12h3',
  clients: 'M5.5 7.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1 13.500c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4M11 7.500a2 2 0 1 0-.5-3.900M12 9.700c1.800.4 3 1.800 3 3.800',
  topics: 'M2.5 2.500v9.500h4M2.5 6.500h4M9 6.500h4.500M9 12h4.5',
  services: 'M5.5 3 2 8l3.5 5M10.5 3 14 8l-3.5 5',
  events: 'M2 3.500h1M6 3.500h8M2 8h1M6 8h8M2 12.500h1M6 12.500h8',
  light: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1.500M8 13.500V15M1 8h1.500M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  dark: 'M13.5 9.500A6 6 0 0 1 6.5 2.500a6 6 0 1 0 7 7',
  close: 'M4 4l8 8M12 4l-8 8',
  out: 'M6.5 2.500h-4v11h4M6 8h8M11 5l3 3-3 3',
  right: 'M6 4l4 4-4 4',
};
export function icon(name) {
  return svg('svg', {class: 'icon', viewBox: '0 0 16 16', 'aria-hidden': 'true'}, svg('path', {d: ICONS[name]}));
}

/* A heading with what belongs beside it. */
export function panel(title, {note, tools, kind, id} = {}, ...kids) {
  const head = el('header', {class: 'panel-head'}, el('h2', {text: title, id}), note, tools && el('div', {class: 'tools'}, tools));
  return el('section', {class: 'panel ' + (kind || ''), 'aria-labelledby': id}, head, ...kids);
}

export function button(text, click, {kind = '', label, pressed, type = 'button', disabled} = {}) {
  return el('button', {type, class: 'button ' + kind, 'aria-label': label, 'aria-pressed': pressed, disabled, text, on: click ? {click} : {}});
}

/* One of several: choices are [value, text] pairs. */
export function segmented(label, choices, value, change) {
  const buttons = choices.map(([v, text]) => button(text, () => pick(v, true), {kind: 'segment', pressed: String(v === value)}));
  const group = el('div', {class: 'segmented', role: 'group', 'aria-label': label}, buttons);
  function pick(v, said) {
    choices.forEach(([c], i) => set(buttons[i], 'aria-pressed', String(c === v)));
    if (said) change(v);
  }
  group.pick = v => pick(v, false);
  return group;
}

/* The words that an empty view says instead of nothing. */
export function empty(title, text, ...more) {
  return el('div', {class: 'empty'}, el('p', {class: 'empty-title', text: title}), el('p', {text}), ...more);
}
