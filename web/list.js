/* A list of any length of which only what is seen is in the document. The rows are positioned, so that scrolling moves no others.
 * Keys: arrows, Page Up and Down, Home, End, Enter; screen readers hear the row that is active. */
import {el, look, set} from './dom.js';

const SPARE = 6; /* rows above and below what is seen */
let lists = 0;

export class List {
  /* kind: 'grid' or 'tree'; height(): of a row, in px; header: its element or null; make(): a row's element; fill(row, index): false when
   * it is not known yet; open(index); key(event, index): true when it was taken. */
  constructor({label, kind = 'grid', height, header, make, fill, open, key, moved}) {
    Object.assign(this, {kind, height, make, fill, open, key, moved});
    this.id = 'list' + ++lists;
    this.total = 0;
    this.active = 0;
    this.rows = new Map(); /* by index */
    this.spare = [];
    this.body = el('div', {class: 'list-body', role: kind === 'grid' ? 'rowgroup' : 'none'});
    this.root = el('div', {class: 'list ' + kind, role: kind, tabindex: '0', 'aria-label': label, on: {
      scroll: () => this.draw(), keydown: e => this.keydown(e), click: e => this.click(e), focus: () => this.draw(),
    }}, header, this.body);
    this.header = header;
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  setTotal(n) {
    this.total = n;
    if (this.kind === 'grid') set(this.root, 'aria-rowcount', n + (this.header ? 1 : 0));
    if (this.active >= n) this.active = Math.max(0, n - 1);
    this.draw();
  }

  /* The indices that are on the screen. */
  seen() {
    const h = this.height();
    const first = Math.floor(this.root.scrollTop / h);
    return [Math.max(0, first), Math.min(this.total, first + Math.ceil(this.root.clientHeight / h) + 1)];
  }

  draw() {
    const h = this.height();
    look(this.body, '--row', h + 'px');
    look(this.body, 'height', this.total * h + 'px');
    const [from, to] = this.seen();
    const first = Math.max(0, from - SPARE);
    const end = Math.min(this.total, to + SPARE);
    for (const [i, row] of this.rows)
      if (i < first || i >= end) {
        this.rows.delete(i);
        row.hidden = true;
        this.spare.push(row);
      }
    for (let i = first; i < end; i++) {
      let row = this.rows.get(i);
      if (!row) {
        row = this.spare.pop();
        if (!row) {
          row = this.make();
          row.classList.add('list-row');
          this.body.append(row);
        }
        row.hidden = false;
        this.rows.set(i, row);
        row.index = i;
        row.id = this.id + '-' + i;
        look(row, 'transform', 'translateY(' + i * h + 'px)');
        if (this.kind === 'grid') set(row, 'aria-rowindex', i + 1 + (this.header ? 1 : 0));
      } else if (row.style.transform !== 'translateY(' + i * h + 'px)') look(row, 'transform', 'translateY(' + i * h + 'px)');
      this.fill(row, i);
      row.classList.toggle('active', i === this.active);
      if (this.kind === 'tree') set(row, 'aria-selected', String(i === this.active));
    }
    while (this.spare.length > 60) this.spare.pop().remove();
    if (this.total) set(this.root, 'aria-activedescendant', this.rows.has(this.active) ? this.id + '-' + this.active : null);
    else set(this.root, 'aria-activedescendant', null);
    if (this.moved && (this.from !== from || this.to !== to)) this.moved(from, to);
    this.from = from;
    this.to = to;
  }

  move(to) {
    if (!this.total) return;
    this.active = Math.max(0, Math.min(this.total - 1, to));
    const h = this.height();
    const head = this.header ? this.header.offsetHeight : 0;
    const y = this.active * h;
    const room = this.root.clientHeight - head;
    if (y < this.root.scrollTop) this.root.scrollTop = y;
    else if (y + h > this.root.scrollTop + room) this.root.scrollTop = y + h - room;
    this.draw();
  }

  keydown(e) {
    if (e.target !== this.root || e.ctrlKey || e.metaKey || e.altKey) return;
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.height()) - 2);
    if (this.key && this.key(e, this.active)) {
      e.preventDefault();
      return;
    }
    const to = {ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: this.total - 1}[e.key];
    if (to !== undefined) this.move(to);
    else if (e.key === 'Enter' && this.total && this.open) this.open(this.active);
    else return;
    e.preventDefault();
  }

  click(e) {
    const row = e.target.closest('.list-row');
    if (!row || !this.body.contains(row) || e.target.closest('button, a, input')) return;
    this.active = row.index;
    this.draw();
    if (this.open) this.open(row.index);
  }
}
