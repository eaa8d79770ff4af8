/* Charts as SVG: a spark, lines or areas over time, a bar of parts. Their size is the screen's, so nothing is stretched. */
import {el, keyed, look, say, set, svg} from './dom.js';
import * as fmt from './fmt.js';

const f = n => n.toFixed(1);

/* The path of points that may have gaps (NaN). */
function line(points, x, y, base) {
  let d = '';
  let open = false;
  let first = 0;
  let last = 0;
  for (const [t, v] of points) {
    if (Number.isNaN(v)) {
      if (open && base !== undefined) d += 'L' + f(last) + ' ' + f(base) + 'L' + f(first) + ' ' + f(base) + 'Z';
      open = false;
      continue;
    }
    last = x(t);
    if (!open) first = last;
    d += (open ? 'L' : 'M') + f(last) + ' ' + f(y(v));
    open = true;
  }
  if (open && base !== undefined) d += 'L' + f(last) + ' ' + f(base) + 'L' + f(first) + ' ' + f(base) + 'Z';
  return d;
}

/* The least of 1, 2, 5 x 10^n (of powers of two for bytes) that is no less. */
export function ceiling(v, binary) {
  if (!(v > 0)) return 1;
  if (binary) {
    const unit = 1024 ** Math.max(0, Math.floor(Math.log(v) / Math.log(1024)));
    return ceiling(v / unit) * unit;
  }
  const ten = 10 ** Math.floor(Math.log10(v));
  for (const k of [1, 2, 4, 5, 10]) if (k * ten >= v * 0.999) return k * ten;
  return 10 * ten;
}

export function spark(tone = 'a') {
  const area = svg('path', {class: 'area'});
  const stroke = svg('path', {class: 'line'});
  const root = svg('svg', {class: 'spark tone-' + tone, viewBox: '0 0 120 28', preserveAspectRatio: 'none', 'aria-hidden': 'true'}, area, stroke);
  root.update = (points, top) => {
    const some = points.filter(p => !Number.isNaN(p[1]));
    if (some.length < 2) {
      set(area, 'd', '');
      set(stroke, 'd', '');
      return;
    }
    const from = points[0][0];
    const to = points[points.length - 1][0];
    const most = top || Math.max(...some.map(p => p[1])) * 1.15 || 1;
    const x = t => ((t - from) / (to - from || 1)) * 120;
    const y = v => 27 - (Math.min(v, most) / most) * 25;
    set(stroke, 'd', line(points, x, y));
    set(area, 'd', line(points, x, y, 28));
  };
  return root;
}

/* series: [{name, tone, area}]; format: of values; binary: bytes. update([[ms, v], ...] of each, {from, to}) */
export function chart({label, series, format, binary, least = 0}) {
  const grid = svg('g', {class: 'grid'});
  const marks = svg('g', {class: 'marks'});
  const paths = series.map(s => [s.area ? svg('path', {class: 'area tone-' + s.tone}) : null, svg('path', {class: 'line tone-' + s.tone})]);
  const cross = svg('line', {class: 'cross'});
  const plot = svg('svg', {class: 'plot', role: 'img', 'aria-label': label}, grid, paths.flat().filter(Boolean), marks, cross);
  const values = series.map(() => el('b', {class: 'num'}));
  const at = el('span', {class: 'legend-at'});
  const legend = el('div', {class: 'legend'}, series.map((s, i) => el('span', {class: 'key tone-' + s.tone}, el('i'), el('span', {text: s.name}), values[i])), at);
  const root = el('div', {class: 'chart'}, legend, plot);
  const left = 52;
  const bottom = 20;
  const top = 6;
  let lists = series.map(() => []);
  let range = {from: 0, to: 1};
  let hover = null;
  let width = 0;
  let height = 0;

  function nearest(list, ms) {
    let best = null;
    for (const p of list) if (!best || Math.abs(p[0] - ms) < Math.abs(best[0] - ms)) best = p;
    return best;
  }

  function words() {
    const ms = hover === null ? null : range.from + ((hover - left) / (width - left)) * (range.to - range.from);
    lists.forEach((list, i) => {
      const some = ms === null ? [...list].reverse().find(p => !Number.isNaN(p[1])) : nearest(list, ms);
      say(values[i], some ? format(some[1]) : '–');
    });
    say(at, ms === null ? '' : fmt.clock(ms));
    set(plot, 'aria-label', label + ': ' + series.map((s, i) => s.name + ' ' + values[i].textContent).join(', '));
    if (hover === null) set(cross, 'class', 'cross off');
    else for (const [k, v] of [['class', 'cross'], ['x1', hover], ['x2', hover], ['y1', top], ['y2', height - bottom]]) set(cross, k, v);
  }

  function draw() {
    if (!width) return;
    set(plot, 'viewBox', '0 0 ' + width + ' ' + height);
    let most = least;
    for (const list of lists) for (const p of list) if (p[1] > most) most = p[1];
    most = ceiling(most, binary);
    const x = t => left + ((t - range.from) / (range.to - range.from || 1)) * (width - left);
    const y = v => top + (1 - v / most) * (height - top - bottom);
    const steps = height > 150 ? 4 : 2;
    keyed(grid, Array.from({length: steps + 1}, (_, i) => i), i => i, () => svg('g', {}, svg('line'), svg('text', {'text-anchor': 'end'})), (g, i) => {
      const v = (most * i) / steps;
      const [l, t] = g.children;
      for (const [k, w] of [['x1', left], ['x2', width], ['y1', f(y(v))], ['y2', f(y(v))]]) set(l, k, w);
      set(t, 'x', left - 8);
      set(t, 'y', f(y(v) + 3.5));
      say(t, format(v));
    });
    const ticks = width > 420 ? 4 : 2;
    keyed(marks, Array.from({length: ticks + 1}, (_, i) => i), i => i, () => svg('text'), (t, i) => {
      const ms = range.from + ((range.to - range.from) * i) / ticks;
      set(t, 'x', f(Math.min(x(ms), width)));
      set(t, 'y', height - 4);
      set(t, 'text-anchor', i === 0 ? 'start' : i === ticks ? 'end' : 'middle');
      say(t, i === ticks ? 'now' : fmt.minute(ms));
    });
    lists.forEach((list, i) => {
      const [area, stroke] = paths[i];
      const inside = list.filter(p => p[0] >= range.from);
      set(stroke, 'd', line(inside, x, y));
      if (area) set(area, 'd', line(inside, x, y, y(0)));
    });
    words();
  }

  new ResizeObserver(() => {
    const box = plot.getBoundingClientRect();
    if (Math.round(box.width) === width && Math.round(box.height) === height) return;
    width = Math.round(box.width);
    height = Math.round(box.height);
    draw();
  }).observe(plot);
  plot.addEventListener('pointermove', e => {
    hover = Math.max(left, Math.min(width, e.clientX - plot.getBoundingClientRect().left));
    words();
  });
  plot.addEventListener('pointerleave', () => {
    hover = null;
    words();
  });
  root.update = (now, over) => {
    lists = now;
    range = over;
    draw();
  };
  return root;
}

/* A bar of parts of a whole: [{name, value, tone}]; what is left of the whole stays empty. */
export function stack(label) {
  const root = el('div', {class: 'stack', role: 'img'});
  root.update = (parts, whole, format) => {
    const all = whole || 1;
    keyed(root, parts, p => p.name, () => el('i'), (node, p) => {
      set(node, 'class', 'part tone-' + p.tone);
      set(node, 'title', p.name + ': ' + format(p.value));
      look(node, '--part', ((100 * p.value) / all).toFixed(3) + '%');
    });
    set(root, 'aria-label', label + ': ' + parts.map(p => p.name + ' ' + format(p.value)).join(', ') + ' of ' + format(whole));
  };
  return root;
}

/* Used and most ever used, of a limit. */
export function meter() {
  const used = el('i', {class: 'used'});
  const peak = el('i', {class: 'peak'});
  const root = el('div', {class: 'meter', 'aria-hidden': 'true'}, used, peak);
  root.update = (value, most, limit) => {
    const part = v => (limit ? Math.min(1, v / limit) : 0);
    look(root, '--used', (100 * part(value)).toFixed(2) + '%');
    look(root, '--peak', (most > value ? 100 * part(most) : 0).toFixed(2) + '%');
    set(root, 'data-level', part(value) > 0.95 ? 'bad' : part(value) > 0.8 ? 'warn' : 'good');
  };
  return root;
}
