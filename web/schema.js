/* A form made of a JSON schema: objects of texts, numbers, truths and choices; what else there is, as JSON. Bounded, as the schema is
 * somebody else's. */
import {el} from './dom.js';
import {cut} from './fmt.js';

const MOST_FIELDS = 40;
let forms = 0;

const typeOf = s => (Array.isArray(s.type) ? s.type.find(t => t !== 'null') : s.type) || (s.enum ? 'enum' : s.properties ? 'object' : 'any');

/* Returns {root, read()}; read throws an Error that says which field is wrong. */
export function schemaForm(schema) {
  const prefix = 'f' + ++forms + '-';
  if (!schema || typeof schema !== 'object' || typeOf(schema) !== 'object' || !schema.properties || typeof schema.properties !== 'object') return jsonForm(schema);
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const fields = Object.entries(schema.properties).slice(0, MOST_FIELDS).map(([name, s], i) => field(prefix + i, name, s && typeof s === 'object' ? s : {}, required.has(name)));
  const root = el('div', {class: 'stacked'}, fields.map(f => f.root));
  return {root, read: () => Object.fromEntries(fields.map(f => [f.name, f.read()]).filter(([, v]) => v !== undefined))};
}

function jsonForm(schema) {
  const id = 'f' + ++forms;
  const example = schema && typeof schema === 'object' && 'default' in schema ? JSON.stringify(schema.default) : '';
  const input = el('textarea', {class: 'input mono', id, rows: 4, spellcheck: 'false', placeholder: '{"a": 2, "b": 3}', value: example});
  return {root: el('div', {class: 'stacked'}, el('label', {for: id, text: 'Arguments, as JSON'}), input), read: () => parse(input.value, 'The arguments')};
}

function parse(text, name) {
  if (!text.trim()) return undefined;
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new Error(name + ': no JSON: ' + e.message);
  }
}

function field(id, name, s, must) {
  const type = typeOf(s);
  const hint = typeof s.description === 'string' ? cut(s.description, 300) : '';
  const about = hint ? id + '-about' : null;
  const title = cut(typeof s.title === 'string' ? s.title : name, 80);
  const common = {id, class: 'input', 'aria-describedby': about, required: must};
  let input;
  let read;
  if (type === 'boolean') {
    input = el('input', {type: 'checkbox', id, 'aria-describedby': about});
    input.checked = s.default === true;
    return {name, root: el('div', {class: 'field'}, el('label', {class: 'check', for: id}, input, title), hint && el('p', {class: 'quiet', id: about, text: hint})), read: () => input.checked};
  }
  if (Array.isArray(s.enum)) {
    const choices = s.enum.slice(0, 200);
    input = el('select', common, must ? null : el('option', {value: '', text: '–'}), choices.map((c, i) => el('option', {value: String(i), text: cut(typeof c === 'string' ? c : JSON.stringify(c), 80)})));
    const at = choices.indexOf(s.default);
    if (at >= 0) input.value = String(at);
    read = () => (input.value === '' ? undefined : choices[Number(input.value)]);
  } else if (type === 'integer' || type === 'number') {
    input = el('input', {...common, type: 'number', step: type === 'integer' ? '1' : 'any', min: num(s.minimum), max: num(s.maximum)});
    if (typeof s.default === 'number') input.value = String(s.default);
    read = () => {
      if (input.value === '') return undefined;
      const v = Number(input.value);
      if (!Number.isFinite(v) || (type === 'integer' && !Number.isInteger(v))) throw new Error(title + ': not a whole number');
      return v;
    };
  } else if (type === 'string') {
    input = el(s.maxLength > 200 ? 'textarea' : 'input', {...common, maxlength: num(s.maxLength), minlength: num(s.minLength)});
    if (typeof s.default === 'string') input.value = s.default;
    read = () => (input.value === '' && !must ? undefined : input.value);
  } else {
    input = el('textarea', {...common, class: 'input mono', rows: 3, placeholder: type === 'array' ? '[]' : '{}'});
    if (s.default !== undefined) input.value = JSON.stringify(s.default);
    read = () => parse(input.value, title);
  }
  return {name, root: el('div', {class: 'field'}, el('label', {for: id, text: title + (must ? '' : ' (optional)')}), input, hint && el('p', {class: 'quiet', id: about, text: hint})), read};
}

const num = v => (typeof v === 'number' && Number.isFinite(v) ? v : null);
