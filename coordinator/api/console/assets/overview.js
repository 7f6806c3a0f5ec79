// The overview: the ring, the nodes beside it, and four figures.

import { h, redraw, redrawEach } from './dom.js';
import { coverage } from './model.js';
import { drawRing, drawingPoint, orders } from './ring.js';
import { count, duration, list, number, percent } from './text.js';

// mount builds the view once; the function it returns shows a model.
export function mount(root) {
  const view = { order: 'owner', chosen: '', drawn: null, model: null };
  const figures = h('dl', { class: 'figures' });
  const stage = h('div', { class: 'ring-stage' });
  const readout = h('p', { class: 'readout', 'aria-live': 'off' });
  const nodes = h('ul', { class: 'node-list' });
  const switches = Object.entries(orders).map(([order, name]) => h('button', {
    type: 'button', 'data-order': order, onclick: () => { view.order = order; show(view.model); },
  }, name));
  root.append(
    figures,
    h('div', { class: 'ring-and-nodes' },
      h('div', { class: 'card ring-card' },
        h('div', { class: 'card-head' }, h('h2', null, 'Ring'), h('div', { class: 'switch', role: 'group', 'aria-label': 'Order of the partitions' }, switches)),
        stage, readout),
      h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', null, 'Nodes')), nodes)));
  stage.addEventListener('pointermove', (event) => read(event));
  stage.addEventListener('pointerleave', () => tell(null));

  function read(event) {
    const drawing = stage.querySelector('svg');
    if (drawing && view.drawn) tell(view.drawn.partitionAt(...drawingPoint(drawing, event)));
  }

  function tell(partition) {
    readout.textContent = partition === null || !view.model?.layout ? hint(view.model) : placeOf(view.model, partition);
  }

  function choose(name) {
    view.chosen = view.chosen === name ? '' : name;
    bringOut(view.model);
  }

  function bringOut(model) {
    const i = model.members.findIndex((m) => m.name === view.chosen);
    const drawing = stage.querySelector('svg');
    if (drawing) {
      drawing.classList.toggle('chosen', i >= 0);
      for (const e of drawing.querySelectorAll('.out')) e.classList.remove('out');
      if (i >= 0) for (const e of drawing.querySelectorAll(`.of-${i}`)) e.classList.add('out');
    }
    for (const b of nodes.querySelectorAll('button')) b.setAttribute('aria-pressed', String(b.dataset.name === view.chosen));
  }

  function show(model) {
    if (!model) return;
    view.model = model;
    for (const b of switches) b.setAttribute('aria-pressed', String(b.dataset.order === view.order));
    redraw(figures, figuresOf(model), () => figuresOf(model).map(figure));
    redraw(stage, [view.order, model.layout, model.members.map((m) => [m.name, m.up, m.pending, m.hints, m.settled])], () => {
      if (!model.layout) return h('p', { class: 'empty' }, model.joined ? 'The ring has not come yet.' : 'There is no ring before the node has joined a cluster.');
      view.drawn = drawRing(model, view.order);
      return view.drawn.drawing;
    });
    redrawEach(nodes, model.members, (m) => m.id, (m) => [m.name, m.up, m.alive, m.state, m.settled, m.share, m.pending, m.hints, m.answered, m.transfer, m.draining, m.colour], (m) => nodeItem(m, choose));
    if (!readout.textContent) tell(null);
    bringOut(model);
  }
  return show;
}

function hint(model) {
  if (!model?.layout) return '';
  return 'Each band is one copy of every partition. Point at the ring to see whose a partition is; choose a node to bring it out.';
}

function placeOf(model, partition) {
  const names = (indices) => list((indices ?? []).map((i) => model.members[i].name + (model.members[i].up ? '' : ' (down)')), 8);
  const pending = model.layout.pending[partition] ?? [];
  return `Partition ${number(partition)}: ${names(model.layout.owners[partition]) || 'no owner'}${pending.length ? `; being copied to ${names(pending)}` : ''}.`;
}

function figuresOf(model) {
  const c = coverage(model);
  const proofs = model.convergence;
  return [
    c && c.partitions > 0
      ? ['Partitions with all owners up', percent(c.full, c.partitions), c.full === c.partitions ? `all ${number(c.partitions)}` : `${number(c.partitions - c.full)} are short`, c.dark + c.minority > 0 ? 'bad' : c.short > 0 ? 'warn' : '']
      : ['Partitions with all owners up', '–', 'not known', ''],
    ['Hints waiting', number(model.hints), model.hints === 0 ? 'no write waits for a node' : `at ${count(model.members.filter((m) => m.hints > 0).length, 'node', 'nodes')}`, model.hints > 0 ? 'warn' : ''],
    ['Settling', number(model.members.reduce((sum, m) => sum + m.pending, 0)), settlingNote(model), ''],
    proofs
      ? ['Copies proven equal', percent(proofs.pairs_total - proofs.stale, proofs.pairs_total), proofNote(proofs), '']
      : ['Copies proven equal', '–', 'not known yet', ''],
  ];
}

function settlingNote(model) {
  const filled = model.members.filter((m) => m.pending > 0);
  return filled.length === 0 ? 'no data moves' : `partitions on their way to ${list(filled.map((m) => m.name), 3)}`;
}

function proofNote(c) {
  if (c.pairs_total === 0) return 'there is one copy of each';
  if (c.stale === 0 && Number.isFinite(c.oldest_proof_seconds)) return `oldest proof ${duration(c.oldest_proof_seconds)} ago`;
  return `${count(c.stale, 'pair', 'pairs')} to compare`;
}

function figure([name, value, note, level]) {
  return h('div', { class: `figure ${level}` }, h('dt', null, name), h('dd', null, h('b', null, value), h('span', null, note)));
}

// statusOf is a node's state in a word or two, and how bad that is.
export function statusOf(m) {
  if (!m.alive) return ['down', 'bad'];
  if (!m.up) return ['no answer', 'bad'];
  if (m.draining) return ['stopping', 'warn'];
  if (m.state === 'joining') return ['joining', 'info'];
  if (m.state === 'leaving') return ['leaving', 'info'];
  if (m.pending > 0) return ['settling', 'info'];
  return ['up', 'ok'];
}

function nodeItem(m, choose) {
  const [word, level] = statusOf(m);
  const notes = [];
  if (m.pending > 0) notes.push(`${count(m.pending, 'partition', 'partitions')} settling${progress(m)}`);
  if (m.hints > 0) notes.push(`holds ${count(m.hints, 'hint', 'hints')}`);
  if (m.up && !m.answered) notes.push('hints not known');
  return h('li', null,
    h('button', { type: 'button', 'data-name': m.name, 'aria-pressed': 'false', onclick: () => choose(m.name) },
      h('span', { class: `dot c${m.colour}${m.up ? '' : ' hollow'}`, 'aria-hidden': 'true' }),
      h('span', { class: 'name' }, m.name),
      h('span', { class: `tag ${level}` }, word),
      h('span', { class: 'share' }, percent(m.share, 1)),
      h('span', { class: `meter c${m.colour}${m.up ? '' : ' hollow'}`, 'aria-hidden': 'true', vars: { '--part': String(m.share) } }),
      notes.length ? h('span', { class: 'notes' }, notes.join(' · ')) : null));
}

function progress(m) {
  const t = m.transfer;
  return t && t.bytes_total > 0 ? ` (${percent(Math.min(t.bytes_done, t.bytes_total), t.bytes_total)})` : '';
}
