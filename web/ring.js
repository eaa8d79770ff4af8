/* Samples of several series in fixed rings: what is older than `cap` samples is written over. A series that is not known yet gets its
 * place until there are MOST of them. */
const MOST = 96;

export class Rings {
  constructor(cap) {
    this.cap = cap;
    this.clear();
  }

  clear() {
    this.times = new Float64Array(this.cap);
    this.series = new Map();
    this.count = 0;
    this.next = 0;
  }

  /* ms: of the sample, later than the last one; values: by name, NaN for none. */
  push(ms, values) {
    this.times[this.next] = ms;
    for (const ring of this.series.values()) ring[this.next] = NaN;
    for (const name in values) {
      let ring = this.series.get(name);
      if (!ring) {
        if (this.series.size >= MOST) continue;
        ring = new Float64Array(this.cap).fill(NaN);
        this.series.set(name, ring);
      }
      ring[this.next] = values[name];
    }
    this.next = (this.next + 1) % this.cap;
    if (this.count < this.cap) this.count++;
  }

  at(i) {
    return (this.next - this.count + i + this.cap) % this.cap;
  }

  last() {
    return this.count ? this.times[this.at(this.count - 1)] : 0;
  }

  /* [[ms, value], ...], oldest first, from `since` on */
  read(name, since = 0) {
    const ring = this.series.get(name);
    const out = [];
    for (let i = 0; i < this.count; i++) {
      const at = this.at(i);
      if (this.times[at] >= since) out.push([this.times[at], ring ? ring[at] : NaN]);
    }
    return out;
  }

  /* The mean of each series since then; what is a peak (its name ends so) its most. */
  mean(since) {
    const out = {};
    for (const name of this.series.keys()) {
      let sum = 0;
      let n = 0;
      let most = -Infinity;
      for (const [, v] of this.read(name, since)) {
        if (Number.isNaN(v)) continue;
        sum += v;
        n++;
        most = Math.max(most, v);
      }
      out[name] = !n ? NaN : /longest|p99/.test(name) ? most : sum / n;
    }
    return out;
  }
}

/* Several nodes' points added up, sample by sample of the first that has the most: their clocks tick apart by less than a sample. */
export function sum(lists, most = false) {
  const some = lists.filter(l => l.length);
  if (some.length < 2) return some[0] || [];
  const lead = some.reduce((a, b) => (b.length > a.length ? b : a));
  const at = some.map(() => 0);
  return lead.map(([ms]) => {
    let total = NaN;
    some.forEach((list, k) => {
      while (at[k] + 1 < list.length && Math.abs(list[at[k] + 1][0] - ms) <= Math.abs(list[at[k]][0] - ms)) at[k]++;
      const v = list[at[k]][1];
      if (Number.isNaN(v) || list[at[k]][0] > ms + 30000) return;
      total = Number.isNaN(total) ? v : most ? Math.max(total, v) : total + v;
    });
    return [ms, total];
  });
}
