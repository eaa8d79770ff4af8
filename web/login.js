/* The session: who is logged in, by a one-time link (#login=...) or a user of the access policy and a password. */
import * as api from './api.js';
import {button, el, say, svg} from './dom.js';

/* {role, user, id, node, version}; open: true where the node has no sessions, as everybody on this machine is the operator. Throws. */
export async function session() {
  try {
    return await api.get('/api/session', {}, {quiet: true});
  } catch (e) {
    if (e.kind === 'missing') return {open: true, role: 'operator'};
    throw e;
  }
}

/* The word of a one-time link, taken out of the address so that it stays neither there nor in the history. */
export function takeLink() {
  const found = /^#login=([\w.~+/=-]{8,600})$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, '', location.pathname + '#/now');
  return decodeURIComponent(found[1]);
}

export const byLink = link => api.post('/api/login', {link}, {quiet: true});
export const logout = () => api.post('/api/logout', {}, {quiet: true});

export function loginView(why, done) {
  const user = el('input', {class: 'input', id: 'login-user', autocomplete: 'username', required: true, maxlength: 255, autocapitalize: 'off', spellcheck: 'false'});
  const password = el('input', {class: 'input', id: 'login-password', type: 'password', autocomplete: 'current-password', required: true, maxlength: 1024});
  const said = el('p', {class: 'notice bad', role: 'alert', hidden: true});
  const go = button('Log in', null, {type: 'submit', kind: 'primary'});
  const form = el('form', {class: 'stacked', on: {submit: async e => {
    e.preventDefault();
    go.disabled = true;
    said.hidden = true;
    try {
      await api.post('/api/login', {user: user.value, password: password.value}, {quiet: true});
      password.value = '';
      done();
    } catch (wrong) {
      say(said, wrong.kind === 'expired' || wrong.kind === 'forbidden' ? 'The name or the password is wrong.'
        : wrong.kind === 'missing' ? 'This node has no logins.'
        : wrong.kind === 'limited' ? 'Too many attempts: wait a moment, then try again.' : wrong.message);
      said.hidden = false;
      password.focus();
    }
    go.disabled = false;
  }}},
  el('label', {for: 'login-user', text: 'User'}), user, el('label', {for: 'login-password', text: 'Password'}), password, said, go);
  const root = el('main', {class: 'login'}, el('div', {class: 'login-box'}, brand(), el('h1', {text: 'Log in to this node'}),
    why && el('p', {class: 'notice warn', role: 'status', text: why}), form,
    el('p', {class: 'quiet'}, 'Or on the node\'s machine: ', el('code', {text: 'macula dashboard'}), ' prints a link that works once.')));
  return {root, focus: () => user.focus()};
}

export function brand() {
  return svg('svg', {class: 'brand', viewBox: '0 0 32 32', 'aria-hidden': 'true'}, svg('rect', {width: 32, height: 32, rx: 8}),
    svg('path', {d: 'M9 22 16 9l7 13M9 22h14'}), svg('circle', {cx: 16, cy: 9, r: 3.4}), svg('circle', {cx: 9, cy: 22, r: 3.4}), svg('circle', {cx: 23, cy: 22, r: 3.4}));
}
