// The value of a key: read, shown side by side where there are several,
// written in the place of what was read, deleted.

import { call, parse, Problem, problemOf } from './api.js';
import { editable, fromBase64, fromText, percentEncoded, toBase64, toText } from './bytes.js';
import { h } from './dom.js';
import { bytes as size, clip, count, list, time } from './text.js';

const mostShown = 256 * 1024; // bytes; more would make the page slow
const waitMS = 15_000; // longer than the node's own deadline of a request

// ValueCard is the card of one key at a time. level answers the consistency
// that is chosen; changed is called when a write may have changed the key.
export class ValueCard {
  constructor({ level, changed }) {
    this.level = level;
    this.changed = changed;
    this.wrote = () => {};
    // busy are the read and the write under way; what comes of others is not shown.
    this.busy = { read: null, write: null };
    this.failed = { what: '', id: '' };
    this.context = '';
    this.found = h('div', { id: 'found' });
    this.result = h('div', { id: 'result', role: 'status' });
    this.text = h('textarea', { id: 'value', rows: 5, spellcheck: 'false', autocapitalize: 'off' });
    this.form = h('select', { id: 'value-form' }, h('option', { value: 'text' }, 'text'), h('option', { value: 'base64' }, 'base64'));
    this.type = h('input', { id: 'type', value: 'text/plain; charset=utf-8', spellcheck: 'false', autocapitalize: 'off' });
    this.replace = h('input', { type: 'checkbox', id: 'replace' });
    this.replaceNote = h('span', { class: 'quiet' });
    this.writeButton = h('button', { type: 'submit', class: 'primary', id: 'write' }, 'Write');
    this.deleteButton = h('button', { type: 'button', id: 'delete', onclick: () => this.deletion() }, 'Delete');
    this.title = h('h3', null, 'Write');
    this.editor = h('form', { class: 'editor', onsubmit: (e) => { e.preventDefault(); this.write(); } },
      this.title,
      h('label', { for: 'value', class: 'hidden' }, 'Value to write'), this.text,
      h('div', { class: 'row' },
        h('div', { class: 'field' }, h('label', { for: 'value-form' }, 'Written as'), this.form),
        h('div', { class: 'field grow' }, h('label', { for: 'type' }, 'Content type'), this.type)),
      h('div', { class: 'row check' }, this.replace, h('label', { for: 'replace' }, 'Replace what was read '), this.replaceNote),
      h('div', { class: 'row' }, this.writeButton, this.deleteButton),
      this.result);
    this.root = h('div', { class: 'card', id: 'value-card' },
      h('div', { class: 'card-head' }, h('h2', null, 'Value')),
      h('div', { class: 'card-body' }, this.found, this.editor));
    this.form.addEventListener('change', () => this.reform());
    this.replace.addEventListener('change', () => this.explainReplace());
    this.close();
  }

  close() {
    this.editor.hidden = true;
    this.found.replaceChildren(h('p', { class: 'empty' }, 'Name a bucket and a key, and read it. A bucket needs no creation: write a value, and it is there.'));
  }

  // open reads another key, or the same one again.
  open(bucket, key, name) {
    const other = this.bucket !== bucket || this.name !== name;
    Object.assign(this, { bucket, key, name });
    if (other) {
      this.busy.write = null;
      this.text.value = '';
      this.setForm('text');
      this.type.value = 'text/plain; charset=utf-8';
      this.seen('');
      this.found.replaceChildren();
    }
    if (!this.busy.write) this.result.replaceChildren();
    this.sending(this.busy.write !== null);
    this.editor.hidden = false;
    this.read();
  }

  path(parameters = {}) {
    const level = this.level();
    const query = new URLSearchParams({ ...(level ? { consistency: level } : {}), ...parameters }).toString();
    return `v1/buckets/${this.bucket}/keys/${percentEncoded(this.key)}${query ? `?${query}` : ''}`;
  }

  // once sends a request of a kind and gives its answer to then, unless another
  // of that kind was sent since. It answers what failed, which is told in the
  // place `where`; null if nothing did.
  async once(kind, options, where, then) {
    const mine = {};
    this.busy[kind] = mine;
    let failed = null;
    try {
      const answer = await call(this.path(), { waitMS, ...options });
      if (this.busy[kind] === mine) then(answer);
    } catch (error) {
      failed = error;
      if (this.busy[kind] === mine) where.replaceChildren(failure(error));
    }
    if (this.busy[kind] === mine) this.busy[kind] = null;
    return failed;
  }

  read() {
    if (!this.found.hasChildNodes()) this.found.replaceChildren(h('p', { class: 'empty' }, 'Reading …'));
    const typed = this.text.value;
    this.once('read', { headers: { Accept: 'application/json' } }, this.found, (answer) => this.show(answer, typed));
  }

  // show shows what was read; typed is what was in the editor before, which is
  // left alone if it has changed since.
  show(answer, typed) {
    const token = answer.headers.get('X-Starling-Context') ?? '';
    switch (answer.status) {
      case 200: this.showOne(answer, this.text.value === typed); break;
      case 300: this.showSiblings(parse(answer).siblings, answer, this.text.value === typed); break;
      case 404:
        if (!token) throw problemOf(answer);
        this.found.replaceChildren(h('p', { class: 'empty' }, 'The key has no value.'), asked(answer));
        this.title.textContent = 'Write a value';
        break;
      default: throw problemOf(answer);
    }
    this.seen(token);
  }

  showOne(answer, untouched) {
    const type = answer.headers.get('Content-Type') ?? '';
    const modified = answer.headers.get('Last-Modified');
    const expires = answer.headers.get('Starling-Expires-At');
    const facts = [size(answer.bytes.length), type, modified ? `written ${time(modified)}` : '', expires ? `expires ${time(expires)}` : ''];
    if (answer.bytes.length > mostShown) {
      this.found.replaceChildren(h('p', null, `The value has ${size(answer.bytes.length)}, more than is shown here.`), h('p', { class: 'quiet' }, facts.filter(Boolean).join(' · ')), asked(answer));
      this.title.textContent = 'Write another value';
      return;
    }
    this.found.replaceChildren(h('p', { class: 'quiet' }, facts.filter(Boolean).join(' · ')), asked(answer));
    this.title.textContent = 'Its value';
    if (untouched) this.take(answer.bytes, type);
  }

  showSiblings(siblings, answer, untouched) {
    const shown = siblings.slice(0, 24).map((s) => ({ ...s, bytes: s.encoding === 'base64' ? fromBase64(s.value) : fromText(s.value) }));
    this.found.replaceChildren(
      h('p', { class: 'lead' }, h('span', { class: 'tag warn' }, `${siblings.length} values`), ` They were written without knowing of each other, so ${siblings.length === 2 ? 'both' : 'all'} were kept. Use one of them, or write what they come to together: that takes the place of ${siblings.length === 2 ? 'both' : 'all'}.`),
      h('div', { class: 'siblings' }, shown.map((s, i) => this.sibling(s, i))),
      siblings.length > shown.length ? h('p', { class: 'note' }, `${siblings.length - shown.length} more are not shown.`) : '',
      asked(answer));
    this.title.textContent = siblings.length === 2 ? 'Write one value in the place of both' : `Write one value in the place of all ${siblings.length}`;
    if (!untouched) return;
    this.text.value = '';
    this.setForm('text');
    if (siblings.every((s) => s.content_type === siblings[0].content_type)) this.type.value = siblings[0].content_type;
    this.text.setAttribute('placeholder', 'Use one of the values above, or write a new one.');
  }

  sibling(s, i) {
    const text = toText(s.bytes);
    const plain = editable(text);
    const body = plain ? text : toBase64(s.bytes);
    return h('article', { class: 'sibling', 'aria-label': `Value ${i + 1}` },
      h('h4', null, `Value ${i + 1}`, h('span', { class: 'quiet' }, ` ${size(s.bytes.length)}${plain ? '' : ', base64'}`)),
      h('pre', null, clip(body, 2000) || ' '),
      h('p', { class: 'quiet' }, `${s.content_type}, written ${time(s.modified)}`),
      h('p', { class: 'quiet' }, 'dot ', h('code', null, s.dot)),
      h('button', { type: 'button', onclick: () => { this.take(s.bytes, s.content_type); this.text.focus(); } }, 'Use this one'));
  }

  // take puts bytes into the editor, as text if that changes none of them.
  take(bytes, type) {
    const text = toText(bytes);
    this.setForm(editable(text) ? 'text' : 'base64');
    this.text.value = this.form.value === 'text' ? text : toBase64(bytes);
    this.type.value = type || 'application/octet-stream';
  }

  setForm(form) {
    this.form.value = form;
    this.formWas = form;
  }

  // reform shows what is typed in the other form; what has none stays.
  reform() {
    const bytes = this.typed(this.formWas);
    const text = bytes && toText(bytes);
    if (bytes === null || (this.form.value === 'text' && !editable(text))) {
      this.result.replaceChildren(failure(new Problem(bytes === null ? 'What is written is not base64.' : 'These bytes are no text, and stay as they are.')));
      this.form.value = this.formWas;
      return;
    }
    this.text.value = this.form.value === 'text' ? text : toBase64(bytes);
    this.formWas = this.form.value;
  }

  typed(form) {
    return form === 'base64' ? fromBase64(this.text.value) : fromText(this.text.value);
  }

  // seen remembers what has been read, which the next write replaces.
  seen(token) {
    this.context = token;
    this.replace.disabled = token === '';
    this.replace.checked = token !== '';
    this.explainReplace();
  }

  explainReplace() {
    this.replaceNote.textContent = this.replace.checked ? '' : 'A write now stands beside whatever is there, as a sibling.';
  }

  write() {
    const body = this.typed(this.form.value);
    if (body === null) {
      this.result.replaceChildren(failure(new Problem('What is written is not base64. Nothing was sent.')));
      return;
    }
    const headers = { Prefer: 'return=representation', 'Content-Type': this.type.value.trim() || 'application/octet-stream' };
    this.send('PUT', headers, body, 'Written');
  }

  // deletion asks once more, in the button itself.
  deletion() {
    if (this.deleteButton.dataset.sure) {
      this.unsure();
      this.send('DELETE', {}, undefined, 'Deleted');
      return;
    }
    this.deleteButton.dataset.sure = 'yes';
    this.deleteButton.textContent = 'Delete it now?';
    this.deleteButton.classList.add('danger');
    this.doubt = setTimeout(() => this.unsure(), 5000);
  }

  unsure() {
    clearTimeout(this.doubt);
    delete this.deleteButton.dataset.sure;
    this.deleteButton.textContent = 'Delete';
    this.deleteButton.classList.remove('danger');
  }

  // send writes. One that is sent again unchanged after a failure is the same
  // write: if the first was applied after all, there is no second.
  async send(method, headers, body, done) {
    const context = this.replace.checked ? { 'X-Starling-Context': this.context } : {};
    const what = JSON.stringify([method, this.path(), headers, context, body && toBase64(body)]);
    const id = this.failed.what === what ? this.failed.id : crypto.getRandomValues(new Uint32Array(4)).join('-');
    this.failed = { what: '', id: '' };
    this.sending(true);
    this.result.replaceChildren(h('p', { class: 'quiet' }, 'Sending …'));
    const options = { method, headers: { ...headers, ...context, 'Idempotency-Key': id }, body };
    const failed = await this.once('write', options, this.result, (answer) => {
      if (answer.status !== 200 && answer.status !== 204) throw problemOf(answer);
      this.seen(answer.headers.get('X-Starling-Context') ?? '');
      this.result.replaceChildren(receipt(done, answer));
      this.read();
      this.changed();
      this.wrote();
    });
    if (failed) this.failed = { what, id };
    this.sending(this.busy.write !== null);
  }

  // sending: a second write before the first has ended would not know of it.
  sending(is) {
    this.writeButton.disabled = is;
    this.deleteButton.disabled = is;
  }
}

// counts reads X-Starling-Replicas.
function counts(answer) {
  const m = /acked=(\d+) hinted=(\d+) required=(\d+)/.exec(answer.headers.get('X-Starling-Replicas') ?? '');
  return m && { acked: Number(m[1]), hinted: Number(m[2]), required: Number(m[3]) };
}

// asked says which replicas a read comes from.
function asked(answer) {
  const c = counts(answer);
  const by = answer.headers.get('X-Starling-Coordinator');
  if (!c) return '';
  const standIns = c.hinted > 0 ? ` and ${count(c.hinted, 'stand-in', 'stand-ins')}` : '';
  return h('p', { class: 'quiet asked' }, `${count(c.acked, 'owner', 'owners')}${standIns} answered, ${c.required} ${c.required === 1 ? 'was' : 'were'} required${by ? `; asked through ${by}` : ''}.`);
}

// receipt says what a write came to.
function receipt(done, answer) {
  const c = counts(answer);
  const by = answer.headers.get('X-Starling-Coordinator');
  const parts = [];
  if (c) parts.push(`${count(c.acked, 'owner has', 'owners have')} it on disk${c.hinted ? `, ${count(c.hinted, 'hint stands', 'hints stand')} in for owners that are out of reach` : ''}; ${c.required} ${c.required === 1 ? 'was' : 'were'} required.`);
  if (by) parts.push(`Coordinated by ${by}.`);
  const doc = answer.status === 200 ? parse(answer) : null;
  return h('div', { class: 'outcome ok' },
    h('p', null, h('b', null, `${done}.`), ` ${parts.join(' ')}`),
    Array.isArray(doc?.replicas) ? h('p', { class: 'quiet' }, list(doc.replicas.map((r) => `${r.node} ${r.outcome}${r.holder ? ` at ${r.holder}` : ''}`), 12)) : null);
}

// failure shows why something did not work, and whether it may have.
function failure(error) {
  const doc = error instanceof Problem ? error.doc : null;
  const open = doc?.maybe_applied === true || (error.status === 0 && error.message.startsWith('no '));
  return h('div', { class: 'outcome bad' },
    h('p', null, h('b', null, doc?.title ? `${doc.title}. ` : 'It did not work. '), capital(error.message)),
    open && doc ? h('p', null, 'It may have been applied all the same: read the key to see.') : null,
    open && !doc ? h('p', null, 'If it was a write, it may have been applied all the same: read the key to see.') : null);
}

const capital = (text) => text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}` : '';
