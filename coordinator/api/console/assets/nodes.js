// The nodes, a row each.

import { h, redraw, redrawEach } from './dom.js';
import { statusOf } from './overview.js';
import { bytes, count, milliseconds, number, percent } from './text.js';

const columns = ['Node', 'Liveness', 'State', 'Zone', 'Weight', 'Owned', 'Pending', 'Hints held', 'p95 read / write', 'Addresses'];
const numeric = new Set(['Weight', 'Owned', 'Pending', 'Hints held', 'p95 read / write']);

export function mount(root) {
  const rows = h('tbody');
  const foot = h('p', { class: 'note' });
  root.append(h('div', { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', null, 'Nodes')),
    h('table', { class: 'stacks' },
      h('caption', { class: 'hidden' }, 'The members of the cluster, as seen by the node that serves this page'),
      h('thead', null, h('tr', null, columns.map((c) => h('th', { scope: 'col', class: numeric.has(c) ? 'num' : null }, c)))),
      rows),
    foot));
  const kept = h('div', { class: 'card' });
  root.append(kept);
  return (model) => {
    redrawEach(rows, model.members, (m) => m.id, (m) => [{ ...m, readMS: milliseconds(m.readMS), writeMS: milliseconds(m.writeMS) }, m.name === model.node], (m) => row(model, m));
    redraw(foot, [model.node, model.removed, model.members.length], () => [
      model.members.length ? `Liveness and latency are those that ${model.node} sees; another node may see others.` : 'No member is known.',
      model.removed ? ` ${count(model.removed, 'member has', 'members have')} left for good and ${model.removed === 1 ? 'is' : 'are'} not shown.` : '']);
    redraw(kept, [model.node, model.kept], () => hintsOf(model));
  };
}

function row(model, m) {
  const [word, level] = statusOf(m);
  const self = m.name === model.node;
  const cell = (column, ...content) => h('td', { 'data-label': column, class: numeric.has(column) ? 'num' : null }, content);
  return h('tr', { class: level },
    h('th', { scope: 'row' }, h('span', { class: `dot c${m.colour}${m.up ? '' : ' hollow'}`, 'aria-hidden': 'true' }), m.name, self ? h('span', { class: 'quiet' }, ' this node') : null),
    cell('Liveness', h('span', { class: `tag ${level}` }, word)),
    cell('State', m.state),
    cell('Zone', m.zone || '–'),
    cell('Weight', number(m.weight)),
    cell('Owned', percent(m.share, 1), h('span', { class: 'quiet' }, ` ${number(m.settled)}`)),
    cell('Pending', number(m.pending)),
    cell('Hints held', m.answered ? number(m.hints) : h('abbr', { title: 'It did not say.' }, '?'), m.hintBytes > 0 ? h('span', { class: 'quiet' }, ` ${bytes(m.hintBytes)}`) : null),
    cell('p95 read / write', self ? '–' : `${milliseconds(m.readMS)} / ${milliseconds(m.writeMS)}`),
    h('td', { 'data-label': 'Addresses', class: 'addresses' }, address('HTTP', m.http), address('RPC', m.rpc), address('gossip', m.gossip)));
}

const address = (kind, where) => where ? h('span', null, h('span', { class: 'quiet' }, `${kind} `), h('code', null, where)) : null;

// hintsOf shows for whom the node itself keeps writes; the counts of the others
// are in the table of nodes.
function hintsOf(model) {
  const head = h('div', { class: 'card-head' }, h('h2', null, model.node ? `Hints that ${model.node} keeps` : 'Hints'));
  if (!model.kept) return [head, h('p', { class: 'empty' }, 'Not known.')];
  if (model.kept.length === 0) return [head, h('p', { class: 'empty' }, 'None: no write waits here for another node. Every node keeps its own; starling hints ls lists all.')];
  const cell = (column, ...content) => h('td', { 'data-label': column, class: column === 'Hints' || column === 'Delivered' ? 'num' : null }, content);
  return [head, h('table', { class: 'stacks' },
    h('caption', { class: 'hidden' }, 'Writes that this node keeps for others'),
    h('thead', null, h('tr', null, ['For', 'Hints', 'Delivered', 'Delivery', 'Last error'].map((c) => h('th', { scope: 'col', class: c === 'Hints' || c === 'Delivered' ? 'num' : null }, c)))),
    h('tbody', null, model.kept.map((t) => h('tr', null,
      h('th', { scope: 'row' }, t.target),
      cell('Hints', number(t.hints), h('span', { class: 'quiet' }, ` ${bytes(t.bytes)}`)),
      cell('Delivered', number(t.delivered)),
      cell('Delivery', delivery[t.state] ?? t.state),
      cell('Last error', t.last_error || '–'))))),
  h('p', { class: 'note' }, 'Every node keeps its own; starling hints ls lists all.')];
}

const delivery = { waiting: 'waits for the node', draining: 'on their way', idle: 'nothing to do' };
