/* Figures as people read them. A dash where there is none. */
const NONE = '–';
const whole = new Intl.NumberFormat('en');
const is = v => typeof v === 'number' && Number.isFinite(v);

export const count = v => (is(v) ? whole.format(Math.round(v)) : NONE);

const digits = v => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));

/* 1,234 as 1.23 k */
export function short(v) {
  if (!is(v)) return NONE;
  const a = Math.abs(v);
  if (a < 1000) return Number.isInteger(v) ? String(v) : a < 10 ? v.toFixed(1) : v.toFixed(0);
  const at = a < 999500 ? [1e3, 'k'] : a < 999.5e6 ? [1e6, 'M'] : [1e9, 'G'];
  return digits(v / at[0]) + ' ' + at[1];
}

export const rate = v => (is(v) ? short(v < 10 ? Math.round(v * 10) / 10 : Math.round(v)) + '/s' : NONE);

export function bytes(v) {
  if (!is(v)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  let n = v;
  while (Math.abs(n) >= 1023.5 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return (i ? digits(n) : String(Math.round(n))) + ' ' + units[i];
}

export function micros(v) {
  if (!is(v)) return NONE;
  return v < 1000 ? Math.round(v) + ' µs' : v < 1e6 ? digits(v / 1000) + ' ms' : digits(v / 1e6) + ' s';
}

export function duration(s) {
  if (!is(s)) return NONE;
  const n = Math.max(0, Math.floor(s));
  if (n < 60) return n + ' s';
  if (n < 3600) return Math.floor(n / 60) + ' min';
  if (n < 86400) return Math.floor(n / 3600) + ' h ' + Math.floor((n % 3600) / 60) + ' min';
  return Math.floor(n / 86400) + ' d ' + Math.floor((n % 86400) / 3600) + ' h';
}

const two = n => String(n).padStart(2, '0');
export function clock(ms) {
  const d = new Date(ms);
  return two(d.getHours()) + ':' + two(d.getMinutes()) + ':' + two(d.getSeconds());
}
export const minute = ms => clock(ms).slice(0, 5);

export const percent = v => (is(v) ? (v > 0 && v < 0.001 ? '< 0.1' : (v * 100).toFixed(v < 0.1 ? 1 : 0)) + ' %' : NONE);
export const id = hex => (hex ? String(hex).slice(0, 8) : NONE);
export const plural = (n, one, many = one + 's') => count(n) + ' ' + (n === 1 ? one : many);

/* The first n characters, without half of a pair; controls shown as their pictures, so that they move nothing. */
export function cut(text, n) {
  const plain = String(text).slice(0, n * 2 + 8).replace(/[\u0000-\u001f]/g, c => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
  const all = Array.from(plain);
  return all.length > n ? all.slice(0, n - 1).join('') + '…' : plain;
}
