// The ring as a drawing: a band for each rank of owner, a piece for each
// partition, in the colour of the node that owns it. Outside of the bands lie
// the partitions that are being copied to a new owner.

import { svg } from './dom.js';
import { clip, count, number } from './text.js';

const width = 520;
const height = 440;
const centre = { x: width / 2, y: height / 2 };
const outer = 164;
const inner = 104;
const gap = 2;
const settlingBand = { from: 168, to: 176 };
const labelRadius = 190;

// Orders of the partitions along the ring: as the hash has them, or those of
// the same owners beside each other, which shows shares and neighbours.
export const orders = { owner: 'by owner', hash: 'by hash' };

// drawRing draws the layout of a model. Elements of member i have the class
// of-i, so that a node can be brought out by a class on the drawing.
export function drawRing(model, order) {
  const sequence = sequenceOf(model.layout, order);
  const turn = (2 * Math.PI) / Math.max(1, sequence.length);
  const drawing = svg('svg', { class: 'ring', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': describe(model) });
  drawing.append(hatches());
  const ranks = Math.max(1, ...model.layout.owners.map((o) => o.length));
  const thickness = (outer - inner + gap) / ranks - gap;
  for (let rank = 0; rank < ranks; rank++) {
    const to = outer - rank * (thickness + gap);
    const runs = runsOf(sequence, (p) => model.layout.owners[p][rank] ?? -1);
    drawing.append(...bands(model, runs, to - thickness, to, turn, ''));
  }
  const settling = runsOf(sequence, (p) => model.layout.pending[p]?.[0] ?? -1);
  drawing.append(...bands(model, settling, settlingBand.from, settlingBand.to, turn, 'settling'));
  drawing.append(heart(model));
  if (order === 'owner') drawing.append(...labels(model, sequence, turn));
  return { drawing, partitionAt: (x, y) => partitionAt(sequence, turn, x, y) };
}

// sequenceOf is the partitions in the order in which they are drawn.
function sequenceOf(layout, order) {
  const all = layout.owners.map((_, p) => p);
  if (order === 'hash') return all;
  return all.sort((p, q) => {
    const a = layout.owners[p];
    const b = layout.owners[q];
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const d = (a[i] ?? -1) - (b[i] ?? -1);
      if (d) return d;
    }
    return p - q;
  });
}

// runsOf joins neighbours of one owner: [owner, first, after].
function runsOf(sequence, ownerOf) {
  const runs = [];
  sequence.forEach((p, i) => {
    const owner = ownerOf(p);
    const last = runs.at(-1);
    if (last && last[0] === owner) last[2] = i + 1;
    else runs.push([owner, i, i + 1]);
  });
  return runs;
}

// bands are the pieces of one band, a path for each owner.
function bands(model, runs, from, to, turn, kind) {
  const paths = new Map();
  for (const [owner, first, after] of runs) {
    if (owner < 0) continue;
    paths.set(owner, (paths.get(owner) ?? '') + piece(first * turn, after * turn, from, to));
  }
  return [...paths].map(([owner, d]) => {
    const m = model.members[owner];
    const classes = ['piece', kind, `of-${owner}`, `c${m.colour}`, m.up ? '' : 'down'];
    return svg('path', { d, class: classes.filter(Boolean).join(' '), fill: m.up ? null : 'url(#hatch)' });
  });
}

const point = (angle, r) => `${(centre.x + r * Math.sin(angle)).toFixed(2)} ${(centre.y - r * Math.cos(angle)).toFixed(2)}`;

// piece is the path of an annular sector. A whole turn is drawn as two halves,
// since an arc that ends where it begins is none.
function piece(from, to, r, R) {
  if (to - from > 2 * Math.PI - 1e-6) return piece(from, from + Math.PI, r, R) + piece(from + Math.PI, to - 1e-5, r, R);
  const large = to - from > Math.PI ? 1 : 0;
  return `M${point(from, R)}A${R} ${R} 0 ${large} 1 ${point(to, R)}L${point(to, r)}A${r} ${r} 0 ${large} 0 ${point(from, r)}Z`;
}

function hatches() {
  return svg('defs', null,
    svg('pattern', { id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
      svg('rect', { class: 'hatch-ground', width: 6, height: 6 }),
      svg('rect', { class: 'hatch-line', width: 2, height: 6 })));
}

// heart is the text in the middle.
function heart(model) {
  const up = model.members.filter((m) => m.up).length;
  return svg('g', { class: 'heart', 'text-anchor': 'middle' },
    svg('text', { class: 'heart-count', x: centre.x, y: centre.y + 4 }, `${number(up)} of ${number(model.members.length)}`),
    svg('text', { class: 'heart-what', x: centre.x, y: centre.y + 26 }, up === 1 && model.members.length === 1 ? 'node up' : 'nodes up'),
    svg('text', { class: 'heart-more', x: centre.x, y: centre.y + 50 }, `${number(model.partitions)} partitions × ${number(model.replicas)}`));
}

// labels name the nodes where the partitions are that each owns first.
function labels(model, sequence, turn) {
  const span = model.members.map(() => null);
  sequence.forEach((p, i) => {
    const first = model.layout.owners[p][0];
    if (first === undefined) return;
    span[first] ??= [i, i];
    span[first][1] = i + 1;
  });
  return model.members.flatMap((m, i) => {
    if (!span[i] || (span[i][1] - span[i][0]) * turn < 0.08) return []; // no room
    const angle = ((span[i][0] + span[i][1]) / 2) * turn;
    const x = centre.x + labelRadius * Math.sin(angle);
    const y = centre.y - labelRadius * Math.cos(angle);
    const anchor = Math.abs(Math.sin(angle)) < 0.25 ? 'middle' : Math.sin(angle) > 0 ? 'start' : 'end';
    const notes = [m.up ? '' : 'down', m.pending ? `settling ${number(m.pending)}` : '', m.hints ? `holds ${count(m.hints, 'hint', 'hints')}` : ''].filter(Boolean);
    return [svg('text', { class: `label of-${i}${m.up ? '' : ' down'}`, x, y: y + 4 - (notes.length ? 6 + 8 * Math.cos(angle) : 0), 'text-anchor': anchor },
      svg('tspan', { class: 'label-name' }, clip(m.name, 16)),
      notes.length ? svg('tspan', { class: 'label-note', x, dy: 15 }, notes.join(' · ')) : null)];
  });
}

function describe(model) {
  const share = (m) => `${m.name}: ${m.up ? 'up' : 'down'}, owns ${count(m.settled, 'partition', 'partitions')}${m.pending ? `, ${m.pending} settling` : ''}${m.hints ? `, holds ${m.hints} hints` : ''}`;
  return `Ring of ${count(model.partitions, 'partition', 'partitions')}. ${model.members.map(share).join('; ')}.`;
}

// partitionAt is the partition at a point of the drawing, in its own units.
function partitionAt(sequence, turn, x, y) {
  const dx = x - centre.x;
  const dy = y - centre.y;
  const r = Math.hypot(dx, dy);
  if (r < inner || r > settlingBand.to) return null;
  const angle = (Math.atan2(dx, -dy) + 2 * Math.PI) % (2 * Math.PI);
  return sequence[Math.min(sequence.length - 1, Math.floor(angle / turn))] ?? null;
}

// drawingPoint turns a place on the screen into one of the drawing.
export function drawingPoint(drawing, event) {
  const box = drawing.getBoundingClientRect();
  const scale = Math.min(box.width / width, box.height / height);
  return [
    (event.clientX - box.left - (box.width - width * scale) / 2) / scale,
    (event.clientY - box.top - (box.height - height * scale) / 2) / scale,
  ];
}
