// What the views share: the answers of the node, put together and counted.
// Everything here is a pure function, and holds with parts of the answers missing.

import { byName } from './text.js';

const array = (x) => (Array.isArray(x) ? x : []);
const amount = (x) => (Number.isFinite(x) ? x : 0);

// modelOf puts together /v1/cluster, /v1/ring, /v1/convergence and /v1/hints,
// each of which may be null.
export function modelOf(cluster, ring, convergence, hints) {
  const members = array(cluster?.members).filter((m) => m.state !== 'removed').map(memberOf).sort(byName);
  members.forEach((m, i) => { m.colour = i % 12; });
  const owned = members.reduce((sum, m) => sum + m.settled, 0);
  for (const m of members) m.share = owned > 0 ? m.settled / owned : 0;
  return {
    node: cluster?.node ?? '',
    joined: Boolean(cluster?.cluster_id),
    clusterID: cluster?.cluster_id ?? '',
    partitions: amount(cluster?.partitions),
    replicas: amount(cluster?.replicas),
    removed: array(cluster?.members).length - members.length,
    members,
    down: members.filter((m) => !m.up),
    hints: members.reduce((sum, m) => sum + m.hints, 0),
    silent: members.filter((m) => m.up && !m.answered),
    layout: layoutOf(ring, members),
    convergence,
    // kept is what the node that answers keeps for others.
    kept: hints ? array(hints.targets).filter((t) => t.hints > 0 || t.last_error) : null,
  };
}

function memberOf(m) {
  const breaker = typeof m.breaker === 'string' ? m.breaker : '';
  return {
    name: String(m.name || m.id || '?'),
    id: String(m.id ?? ''),
    state: String(m.state ?? 'unknown'),
    alive: m.alive === true,
    // up: alive, and not shunned by the node that answers.
    up: m.alive === true && breaker !== 'open',
    breaker,
    zone: String(m.zone ?? ''),
    weight: amount(m.weight),
    http: String(m.http ?? ''),
    rpc: String(m.rpc ?? ''),
    gossip: String(m.gossip ?? ''),
    settled: amount(m.settled),
    pending: amount(m.pending),
    answered: m.answered === true,
    hints: amount(m.hints),
    hintBytes: amount(m.hint_bytes),
    draining: m.draining === true,
    transfer: m.transfer ?? null,
    leaving: String(m.leaving ?? ''),
    readMS: amount(m.read_p95_ms),
    writeMS: amount(m.write_p95_ms),
  };
}

// layoutOf is who owns what, by index in members; null where it is not known.
function layoutOf(ring, members) {
  if (!ring) return null;
  const index = new Map(members.map((m, i) => [m.id, i]));
  const mine = array(ring.members).map((m) => index.get(m.id) ?? -1);
  const lists = (all) => array(all).map((list) => array(list).map((i) => mine[i] ?? -1).filter((i) => i >= 0));
  return { owners: lists(ring.owners), pending: lists(ring.pending) };
}

// coverage counts the partitions by how many of their owners are up.
export function coverage(model) {
  const found = { partitions: 0, full: 0, short: 0, minority: 0, dark: 0, settling: 0, leastUp: Infinity, quorum: 1 };
  if (!model.layout) return null;
  model.layout.owners.forEach((owners, p) => {
    const up = owners.filter((i) => model.members[i].up).length;
    const quorum = Math.floor(owners.length / 2) + 1;
    found.partitions++;
    found.quorum = Math.max(found.quorum, quorum);
    found.leastUp = Math.min(found.leastUp, up);
    if (up === owners.length && up > 0) found.full++;
    else if (up === 0) found.dark++;
    else if (up < quorum) found.minority++;
    else found.short++;
    if (model.layout.pending[p]?.length > 0) found.settling++;
  });
  return found;
}

// proofAge buckets say how fresh a proof is; the index is the step of the scale.
export const proofSteps = [
  { below: 60, label: 'under 1 min' },
  { below: 300, label: '1–5 min' },
  { below: 1800, label: '5–30 min' },
  { below: Infinity, label: 'older' },
];

// pairGroups are the pairs of owners of the same two nodes, with the cells of
// the map: those with trouble first, then by name.
export function pairGroups(pairs) {
  const groups = new Map();
  for (const pair of array(pairs)) {
    const name = `${pair.a}\u0000${pair.b}`;
    let group = groups.get(name);
    if (!group) {
      group = { a: String(pair.a), b: String(pair.b), cells: [], stale: 0, never: 0, oldest: 0, name };
      groups.set(name, group);
    }
    const age = pair.proven_seconds_ago;
    const never = !Number.isFinite(age);
    group.cells.push({ partition: pair.partition, age: never ? null : age, holds: pair.holds === true });
    if (pair.holds !== true) group.stale++;
    if (never) group.never++;
    else group.oldest = Math.max(group.oldest, age);
  }
  return [...groups.values()].sort((x, y) => Number(y.stale > 0) - Number(x.stale > 0) || byName({ name: x.name }, { name: y.name }));
}

// cellStep is the class of a cell: a step of the scale, 'stale' or 'never'.
export function cellStep(cell) {
  if (cell.age === null) return 'never';
  if (!cell.holds) return 'stale';
  return proofSteps.findIndex((s) => cell.age < s.below);
}
