// The keys: one key is chosen by bucket and name; its value can be read,
// written and deleted, and what every node holds of it is explained.

import { json, Problem } from './api.js';
import { editable, fromBase64, fromText, isDotSegment, percentDecoded, percentEncoded, toBase64, toText } from './bytes.js';
import { h, redraw } from './dom.js';
import { explanation } from './explain.js';
import { clip, number } from './text.js';
import { ValueCard } from './value.js';

const levels = [
  ['', 'the bucket’s default'],
  ['one', 'one'],
  ['quorum', 'quorum'],
  ['all', 'all'],
  ['any', 'any (writes only)'],
];
const pageOfKeys = 50;
const maxKeyBytes = 1024;

// mount builds the view; open chooses a key by the parts of the page's address.
export function mount(root) {
  const bucket = h('input', { id: 'bucket', name: 'bucket', list: 'buckets', required: true, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', pattern: '[A-Za-z0-9._\\-]{1,64}', title: '1 to 64 of A-Z a-z 0-9 . _ -', placeholder: 'carts' });
  const key = h('input', { id: 'key', name: 'key', required: true, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', placeholder: 'user/17' });
  const form = h('select', { id: 'key-form', 'aria-label': 'How the key is written' }, h('option', { value: 'text' }, 'text'), h('option', { value: 'base64' }, 'base64'));
  const level = h('select', { id: 'level' }, levels.map(([value, name]) => h('option', { value }, name)));
  const message = h('p', { class: 'form-message', role: 'alert' });
  const known = h('datalist', { id: 'buckets' });
  const browser = h('div', { class: 'key-list' });
  const explained = h('div', { class: 'card', id: 'explanation' });
  const value = new ValueCard({ level: () => level.value, changed: () => explain() });
  const at = { bucket: '', key: null, ask: null, list: null };

  root.append(
    h('form', { class: 'card key-form', onsubmit: (e) => { e.preventDefault(); submit(); } },
      field('Bucket', bucket), known,
      h('div', { class: 'field grow' }, h('label', { for: 'key' }, 'Key'), h('div', { class: 'joined' }, key, form)),
      field('Consistency', level),
      h('button', { type: 'submit', class: 'primary', id: 'read' }, 'Read'), message),
    h('div', { class: 'keys-columns' },
      h('details', { class: 'card key-browser' }, h('summary', null, 'Keys in this bucket'), browser),
      h('div', { class: 'keys-main' }, value.root, explained)));
  const wide = matchMedia('(min-width: 60rem)');
  const details = root.querySelector('.key-browser');
  const fold = () => { details.open = wide.matches; };
  wide.addEventListener('change', fold);
  fold();
  bucket.addEventListener('change', () => list());
  show(null);
  showKeys(null, []);

  // chosen reads the form; it throws a Problem that says what is wrong with it.
  function chosen() {
    const name = bucket.value.trim();
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) throw new Problem('A bucket has 1 to 64 of the characters A-Z a-z 0-9 . _ -');
    const bytes = form.value === 'base64' ? fromBase64(key.value) : fromText(key.value);
    if (bytes === null) throw new Problem('The key is not base64.');
    if (bytes.length === 0 || bytes.length > maxKeyBytes) throw new Problem(`A key has 1 to ${maxKeyBytes} bytes; this one has ${number(bytes.length)}.`);
    if (isDotSegment(bytes) || isDotSegment(fromText(name))) throw new Problem('Browsers cannot ask for "." or "..": use the command line for it.');
    return { bucket: name, key: bytes };
  }

  function submit() {
    try {
      const c = chosen();
      message.textContent = '';
      const place = `#/keys/${c.bucket}/${percentEncoded(c.key)}`;
      if (location.hash === place) open(c.bucket, percentEncoded(c.key));
      else location.hash = place; // which opens it
    } catch (error) {
      message.textContent = error.message;
    }
  }

  function open(bucketName, encodedKey) {
    if (!bucketName) return;
    const bytes = percentDecoded(encodedKey ?? '');
    bucket.value = bucketName;
    list();
    if (bytes === null || bytes.length === 0) return;
    const text = toText(bytes);
    form.value = editable(text) && !text.includes('\n') ? 'text' : 'base64';
    key.value = form.value === 'text' ? text : toBase64(bytes);
    at.bucket = bucketName;
    at.key = bytes;
    try {
      chosen();
      message.textContent = '';
    } catch (error) {
      message.textContent = error.message;
      return;
    }
    value.open(bucketName, bytes, key.value);
    explain();
  }

  async function explain() {
    at.ask?.abort();
    const ask = new AbortController();
    at.ask = ask;
    try {
      const doc = await json(`v1/explain/${at.bucket}/${percentEncoded(at.key)}`, { signal: ask.signal });
      if (at.ask === ask) show(doc, null);
    } catch (error) {
      if (at.ask === ask) show(null, error);
    }
  }

  function show(doc, error) {
    redraw(explained, [doc, error?.message], () => [
      h('div', { class: 'card-head' }, h('h2', null, 'Where it is kept')),
      doc ? explanation(doc) : h('p', { class: 'empty' }, error ? `Not known: ${error.message}` : 'Read a key to see which nodes keep it, and whether their copies are the same.'),
    ]);
  }

  // list shows the first keys of the bucket, or those after the last shown.
  async function list(after = null, before = []) {
    const name = bucket.value.trim();
    at.listed = name;
    at.list?.abort();
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name) || isDotSegment(fromText(name))) return showKeys(null, []);
    const ask = new AbortController();
    at.list = ask;
    const from = after === null ? '' : `&after=${percentEncoded(after)}`;
    try {
      const doc = await json(`v1/buckets/${name}/keys?limit=${pageOfKeys}${from}`, { signal: ask.signal });
      if (at.list === ask) showKeys(doc, [...before, ...(Array.isArray(doc.keys) ? doc.keys : [])]);
    } catch (error) {
      if (at.list === ask) browser.replaceChildren(h('p', { class: 'empty' }, `Not known: ${error.message}`));
    }
  }

  function showKeys(doc, keys) {
    if (!doc) {
      browser.replaceChildren(h('p', { class: 'empty' }, 'Choose a bucket.'));
      return;
    }
    if (keys.length === 0) {
      browser.replaceChildren(h('p', { class: 'empty' }, 'The bucket is empty.'));
      return;
    }
    const next = doc.next_base64 !== undefined ? fromBase64(doc.next_base64) : doc.next !== undefined ? fromText(doc.next) : null;
    browser.replaceChildren(
      h('ul', null, keys.map((k) => {
        const bytes = k.key_base64 !== undefined ? fromBase64(k.key_base64) : fromText(k.key ?? '');
        const name = k.key_base64 !== undefined ? `base64:${k.key_base64}` : k.key;
        return h('li', null, h('a', { href: `#/keys/${at.listed}/${percentEncoded(bytes)}`, title: name }, clip(name, 48)));
      })),
      next && !doc.complete && keys.length < 1000 ? h('button', { type: 'button', onclick: () => list(next, keys) }, 'More') : '');
  }

  value.wrote = () => { if (bucket.value.trim()) list(); };

  // buckets offers the buckets that were declared.
  async function buckets() {
    try {
      const doc = await json('v1/buckets');
      known.replaceChildren(...doc.buckets.slice(0, 200).map((b) => h('option', { value: b.name })));
    } catch {
      // It only helps to type.
    }
  }

  return { open, buckets };
}

function field(name, control) {
  return h('div', { class: 'field' }, h('label', { for: control.id }, name), control);
}

