// What every node holds of a key, for somebody who sees it for the first time.

import { h } from './dom.js';
import { count, list, number, time } from './text.js';

// explanation shows the JSON of /v1/explain.
export function explanation(doc) {
  const replicas = Array.isArray(doc.replicas) ? doc.replicas : [];
  const names = namesOf(replicas);
  const of = (role) => replicas.filter((r) => r.role === role).map((r) => r.node);
  return h('div', { class: 'card-body' },
    h('p', { class: 'lead' }, agreement(doc, replicas), ' ', sentence(doc.verdict)),
    h('p', { class: 'quiet' }, `The key falls into partition ${number(doc.partition)}. ${owners(of('owner'))}${pending(of('pending'))}${fallbacks(of('fallback'))}`),
    h('table', { class: 'stacks' },
      h('caption', { class: 'hidden' }, 'What each node holds of the key'),
      h('thead', null, h('tr', null, ['Node', 'Role', 'Copy', 'Values in it', 'Has seen', 'Hints', 'Merkle leaf'].map((c) => h('th', { scope: 'col' }, c)))),
      h('tbody', null, replicas.filter(worthARow).map((r) => row(r, names)))),
    idle(replicas),
    h('p', { class: 'note' }, 'Copies with the same letter are equal. A copy has seen, for each actor (a node’s tenancy of a partition), its writes up to a number: a copy that has seen more replaces one that has seen less; two that have each seen something the other has not are joined, and their values become siblings.'));
}

// agreement tells copies that differ from copies that are not known.
function agreement(doc, replicas) {
  if (doc.agree) return h('span', { class: 'tag ok' }, 'copies agree');
  const answered = replicas.filter((r) => !r.error && (r.role === 'owner' || r.role === 'pending'));
  const differ = new Set(answered.map((r) => r.hash)).size > 1;
  return h('span', { class: 'tag warn' }, differ ? 'copies differ' : 'not all answered');
}

const sentence = (text) => {
  const s = String(text ?? '');
  return s ? `${s[0].toUpperCase()}${s.slice(1)}.` : '';
};

const owners = (names) => names.length === 0 ? '' : `${list(names, 8)} ${names.length === 1 ? 'owns' : 'own'} it. `;
const pending = (names) => names.length === 0 ? '' : `${list(names, 8)} will, and ${names.length === 1 ? 'is' : 'are'} being filled. `;
const fallbacks = (names) => names.length === 0 ? '' : `While an owner is down, ${names.slice(0, 3).join(', then ')} ${names.length === 1 ? 'stands' : 'stand'} in.`;

// worthARow: fallbacks that are well and hold nothing are told in a line.
function worthARow(r) {
  return r.role !== 'fallback' || r.hash || r.hints > 0 || r.error;
}

function idle(replicas) {
  const rest = replicas.filter((r) => !worthARow(r)).map((r) => r.node);
  return rest.length === 0 ? null : h('p', { class: 'quiet' }, `${list(rest, 8)} ${rest.length === 1 ? 'holds' : 'hold'} nothing of it, as it should be.`);
}

// namesOf gives each different copy a letter, in the order of the nodes.
function namesOf(replicas) {
  const letters = new Map();
  const add = (hash) => {
    if (hash && !letters.has(hash)) letters.set(hash, letters.size < 26 ? String.fromCharCode(65 + letters.size) : String(letters.size + 1));
  };
  for (const r of replicas) {
    add(r.hash);
    for (const held of r.held_for ?? []) add(held.hash);
  }
  return letters;
}

function row(r, names) {
  const cell = (column, ...content) => h('td', { 'data-label': column }, content);
  const head = h('th', { scope: 'row' }, r.node);
  if (r.error) {
    return h('tr', { class: 'bad' }, head, cell('Role', r.role),
      h('td', { 'data-label': 'Copy', colspan: 5, class: 'all' }, h('span', { class: 'tag bad' }, r.alive ? 'no answer' : 'down'), ' ', h('span', { class: 'quiet' }, r.error)));
  }
  return h('tr', null, head, cell('Role', r.role),
    cell('Copy', r.hash ? [copy(r.hash, names), r.hinted ? h('span', { class: 'quiet' }, ' in a hint') : null] : h('span', { class: 'quiet' }, 'none')),
    cell('Values in it', values(r.siblings ?? [])),
    cell('Has seen', vector(r.vector ?? {})),
    cell('Hints', r.hints > 0 ? h('ul', { class: 'plain' }, (r.held_for ?? []).map((f) => h('li', null, `for ${f.node}: `, copy(f.hash, names)))) : '–'),
    cell('Merkle leaf', r.leaf ? h('span', { title: `Sum of the leaf: ${r.leaf.sum}` }, `${number(r.leaf.number)}, ${count(r.leaf.keys, 'key', 'keys')}`) : '–'));
}

function copy(hash, names) {
  const letter = names.get(hash) ?? '?';
  return h('span', { class: `copy copy-${(letter.charCodeAt(0) - 65) % 6}`, title: `Hash ${hash}` }, h('b', null, letter), h('code', null, String(hash).slice(0, 8)));
}

function values(siblings) {
  if (siblings.length === 0) return h('span', { class: 'quiet' }, '–');
  return h('ul', { class: 'plain' }, siblings.slice(0, 20).map((s) => h('li', { title: `Dot ${s.dot}` },
    s.deleted ? 'deleted' : count(s.bytes, 'byte', 'bytes'), h('span', { class: 'quiet' }, `, ${time(s.modified)}`), s.expires ? h('span', { class: 'quiet' }, `, expires ${time(s.expires)}`) : null)));
}

function vector(seen) {
  const entries = Object.entries(seen);
  if (entries.length === 0) return h('span', { class: 'quiet' }, '–');
  return h('span', { class: 'vector' }, entries.sort().slice(0, 12).map(([actor, n]) => h('code', { title: `Actor ${actor}` }, `${actor.slice(0, 4)}·${n}`)));
}
