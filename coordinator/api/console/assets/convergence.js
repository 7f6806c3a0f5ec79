// The convergence map: for every pair of nodes that own partitions together,
// a cell for each of these partitions, by the age of the last proof that the
// two copies are equal.

import { h, redraw, redrawEach } from './dom.js';
import { cellStep, pairGroups, proofSteps } from './model.js';
import { count, duration, number, percent, within } from './text.js';

const cell = 9; // pixels, with the gap
const square = 8;
const mostGroups = 60;

export function mount(root) {
  const summary = h('div', { class: 'card-body' });
  const legend = h('ul', { class: 'legend' });
  const rows = h('div', { class: 'pair-rows' });
  const readout = h('p', { class: 'readout' });
  const rest = h('p', { class: 'note' });
  const deletes = h('div', { class: 'card-body' });
  root.append(
    h('div', { class: 'card' },
      h('div', { class: 'card-head' }, h('h2', null, 'Are the copies equal?')), summary),
    h('div', { class: 'card' },
      h('div', { class: 'card-head' }, h('h2', null, 'Proofs'), legend), rows, readout, rest),
    h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('h2', null, 'Deleted keys')), deletes));
  const canvases = new Map();
  const repaint = () => canvases.forEach(({ canvas, group }) => paint(canvas, group));
  new ResizeObserver(repaint).observe(rows);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);

  function read(event, group) {
    const box = event.currentTarget.getBoundingClientRect();
    const perLine = Math.max(1, Math.floor(box.width / cell));
    const i = Math.floor((event.clientY - box.top) / cell) * perLine + Math.min(perLine - 1, Math.floor((event.clientX - box.left) / cell));
    const c = group.cells[i];
    readout.textContent = c ? `Partition ${number(c.partition)}, ${group.a} and ${group.b}: ${inWords(c)}` : '';
  }

  return (model, poll) => {
    const doc = model.convergence;
    redraw(summary, [doc ? [doc.converged, doc.stale, doc.unproven, doc.pairs_total, doc.unreachable, doc.filling, doc.hints, doc.oldest_proof_seconds] : poll.error?.message ?? null], () => summaryOf(doc, poll));
    redraw(deletes, [doc?.tombstones, doc?.purge_blockers], () => deletesOf(doc));
    const groups = doc?.pairs ? pairGroups(doc.pairs) : null;
    if (!groups) {
      canvases.clear();
      redrawEach(rows, [0], () => 'none', () => [Boolean(doc), poll.error?.message], () => h('p', { class: 'empty' }, poll.error ? `The map is not there: ${poll.error.message}.` : 'Asking all members …'));
      return;
    }
    const shown = groups.slice(0, mostGroups);
    redraw(legend, [], () => legendItems());
    redrawEach(rows, shown, (g) => g.name, (g) => [g.cells.length, g.stale, g.never], (g) => {
      const canvas = h('canvas', { role: 'img', onpointermove: (e) => read(e, canvases.get(g.name).group), onpointerleave: () => { readout.textContent = ''; } });
      canvases.set(g.name, { canvas, group: g });
      return h('div', { class: 'pair' }, h('h3', { title: `${g.a} and ${g.b}` }, g.a, h('span', { class: 'quiet' }, ' and '), g.b), h('p', { class: 'pair-note' }), canvas);
    });
    for (const name of [...canvases.keys()]) if (!shown.some((g) => g.name === name)) canvases.delete(name);
    for (const g of shown) {
      const entry = canvases.get(g.name);
      entry.group = g;
      const note = `${count(g.cells.length, 'partition', 'partitions')}, ${noteOf(g)}`;
      entry.canvas.setAttribute('aria-label', `${g.a} and ${g.b}: ${note}`);
      entry.canvas.previousSibling.textContent = note;
      paint(entry.canvas, g);
    }
    if (shown.length === 0) rows.replaceChildren(h('p', { class: 'empty' }, 'No partition has two owners, so there is nothing to compare.'));
    rest.textContent = groups.length > shown.length ? `${number(groups.length - shown.length)} more pairs of nodes are not drawn; those with trouble come first.` : '';
  };
}

function noteOf(g) {
  if (g.never > 0) return `${number(g.stale)} not proven, ${number(g.never)} of them never`;
  if (g.stale > 0) return `${number(g.stale)} not proven since something happened`;
  return `oldest proof ${duration(g.oldest)} ago`;
}

function inWords(c) {
  if (c.age === null) return 'never compared.';
  const when = `found equal ${duration(c.age)} ago`;
  return c.holds ? `${when}.` : `${when}, and one of the two was down or restarted since, or they differed.`;
}

function summaryOf(doc, poll) {
  if (!doc) return h('p', { class: 'empty' }, poll.error ? `Not known: ${poll.error.message}.` : 'Asking all members …');
  const facts = [];
  if (doc.stale > 0) facts.push(`${number(doc.stale)} of ${count(doc.pairs_total, 'pair', 'pairs')} of copies ${doc.stale === 1 ? 'is' : 'are'} not proven equal${doc.unproven > 0 ? `, ${number(doc.unproven)} of them never` : ''}.`);
  if (doc.unreachable?.length > 0) facts.push(`${doc.unreachable.join(', ')} did not answer, so nobody vouches for what ${doc.unreachable.length === 1 ? 'it holds' : 'they hold'}.`);
  if (doc.hints > 0) facts.push(`${count(doc.hints, 'write waits', 'writes wait')} as hints.`);
  if (doc.filling > 0) facts.push(`${count(doc.filling, 'partition is', 'partitions are')} being filled.`);
  if (doc.converged) facts.push(doc.pairs_total > 0 ? `All ${number(doc.pairs_total)} pairs of copies were proven equal within ${within(doc.oldest_proof_seconds)}.` : 'There is one copy of each partition.');
  const proven = doc.pairs_total > 0 ? percent(doc.pairs_total - doc.stale, doc.pairs_total) : '–';
  return [
    h('p', { class: 'lead' }, h('b', null, doc.converged ? 'Yes.' : 'Not all of them, as far as is known.'), ` ${facts.join(' ')}`),
    doc.converged || doc.pairs_total === 0 ? null : h('p', { class: 'quiet' }, `${proven} of the pairs are proven. The nodes compare their copies all the time, unaided, and send each other what differs.`),
  ];
}

function deletesOf(doc) {
  if (!doc) return h('p', { class: 'empty' }, 'Not known yet.');
  const blockers = Array.isArray(doc.purge_blockers) ? doc.purge_blockers : [];
  return [
    h('p', null, doc.tombstones > 0
      ? `${count(doc.tombstones, 'tombstone is', 'tombstones are')} kept, so that no old copy brings a deleted key back. They go once every owner has them and nobody holds anything older.`
      : 'No tombstones are kept: nothing was deleted lately, or all of it is purged.'),
    blockers.length > 0 ? [h('p', null, 'What the purge waits for:'), h('ul', { class: 'plain' }, blockers.slice(0, 20).map((b) => h('li', null, h('b', null, b.node), ' ', b.reason)))] : null,
  ];
}

function legendItems() {
  const item = (step, name) => h('li', null, h('span', { class: `key step-${step}`, 'aria-hidden': 'true' }), name);
  return [...proofSteps.map((s, i) => item(i, s.label)), item('stale', 'not since a change'), item('never', 'never')];
}

// paint draws a group's cells, in lines as long as there is room for. Its
// colours are those of the style sheet.
function paint(canvas, group) {
  const width = canvas.clientWidth;
  if (width === 0) return; // not shown
  const perLine = Math.max(1, Math.floor(width / cell));
  const lines = Math.ceil(group.cells.length / perLine);
  const height = Math.min(lines * cell, 8000);
  const scale = window.devicePixelRatio || 1;
  canvas.style.setProperty('height', `${height}px`);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const style = getComputedStyle(canvas);
  const colours = new Map();
  const colour = (step) => {
    if (!colours.has(step)) colours.set(step, style.getPropertyValue(`--step-${step}`).trim());
    return colours.get(step);
  };
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  group.cells.forEach((c, i) => {
    const x = (i % perLine) * cell;
    const y = Math.floor(i / perLine) * cell;
    const step = cellStep(c);
    pen.fillStyle = colour(step);
    if (step === 'never') { // an outline: told apart without colours
      pen.strokeStyle = colour(step);
      pen.strokeRect(x + 0.5, y + 0.5, square - 1, square - 1);
    } else if (step === 'stale') {
      pen.beginPath();
      pen.moveTo(x, y + square);
      pen.lineTo(x + square, y + square);
      pen.lineTo(x + square, y);
      pen.fill();
      pen.globalAlpha = 0.3;
      pen.fillRect(x, y, square, square);
      pen.globalAlpha = 1;
    } else pen.fillRect(x, y, square, square);
  });
}
