// Whether all is well, in plain words, and if not, what is wrong and what to
// do. A pure function of the model: the console says nothing of its own.

import { coverage } from './model.js';
import { count, list, number, percent, within } from './text.js';

const severity = ['ok', 'info', 'warn', 'bad'];

// judge answers {level, headline, points, commands}. level is that of the
// worst point; each point is {level, text}, each command {command, why}.
export function judge(model, endpoint) {
  const v = { points: [], commands: [], endpoint };
  if (!model.joined) {
    say(v, 'warn', `${model.node || 'This node'} has not joined a cluster yet.`, 'It serves requests once it has. If it stays so, its log says which members it cannot reach.');
    return finish(v);
  }
  sayDown(v, model);
  sayShunned(v, model);
  sayChanges(v, model);
  sayFew(v, model);
  sayHints(v, model);
  sayConvergence(v, model);
  if (!v.headline) v.headline = 'All is well.';
  if (worst(v) === 'ok') sayWell(v, model);
  return finish(v);
}

// say adds a point; the first one that has a headline gives it.
function say(v, level, headline, text) {
  if (headline && !v.headline) v.headline = headline;
  else if (headline) text = text ? `${headline} ${text}` : headline;
  if (text) v.points.push({ level, text });
  else v.points.push({ level, text: '' });
}

function advise(v, why, command) {
  v.commands.push({ why, command: v.endpoint && command.startsWith('starling ') && !command.startsWith('starling serve') ? `${command} --endpoint ${v.endpoint}` : command });
}

function worst(v) {
  return severity[Math.max(0, ...v.points.map((p) => severity.indexOf(p.level)))];
}

function finish(v) {
  return { level: worst(v), headline: v.headline, points: v.points.filter((p) => p.text), commands: v.commands };
}

const isAre = (n) => (n === 1 ? 'is' : 'are');

function sayDown(v, model) {
  const down = model.members.filter((m) => !m.alive);
  if (down.length === 0) return;
  const names = list(down.map((m) => m.name));
  const one = down.length === 1;
  const [level, effect] = effectOfLoss(model);
  say(v, level, `${names} ${isAre(down.length)} down as seen from ${model.node}.`, effect);
  if (model.hints > 0) {
    say(v, level, '', `${count(model.hints, 'write waits', 'writes wait')} as ${model.hints === 1 ? 'a hint' : 'hints'} on the other nodes and ${isAre(model.hints)} handed over when ${one ? 'it is' : 'they are'} back.`);
  }
  advise(v, `Start ${one ? 'it' : 'them'} again. Then watch ${one ? 'it' : 'them'} catch up:`, 'starling status --watch');
  if (model.hints > 0) advise(v, 'See what waits, and for whom:', 'starling hints ls');
  const lost = down.find((m) => m.state !== 'joining');
  const seed = model.members.find((m) => m.alive && m.rpc)?.rpc ?? 'HOST:PORT';
  if (lost) {
    advise(v, `Only if ${one ? 'its' : 'a'} disk is lost for good: let a new node take ${one ? 'its' : 'that'} place.`,
      `starling serve --name ${word(lost.name)} --replace ${word(lost.name)} --data-dir DIR --join ${word(seed)}`);
  }
}

// word quotes what a shell would not take for one word.
const word = (text) => /^[A-Za-z0-9._:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

// effectOfLoss says what the nodes that are down mean for keys.
function effectOfLoss(model) {
  const c = coverage(model);
  if (!c) return ['warn', 'Which keys that concerns is not known, because the ring did not come.'];
  const up = model.members.filter((m) => m.up).length;
  const writes = up >= c.quorum ? 'Writes go on: other nodes stand in and keep hints.' : 'Too few nodes are up to stand in for them, so writes at quorum fail too.';
  if (c.dark > 0) {
    return ['bad', `${count(c.dark, 'partition has', 'partitions have')} no owner that is up (${percent(c.dark, c.partitions)} of all keys): what was written there cannot be read until one is back. ${writes}`];
  }
  if (c.minority > 0) {
    return ['bad', `${count(c.minority, 'partition has', 'partitions have')} fewer owners up than a quorum (${percent(c.minority, c.partitions)} of all keys): reads at quorum fail there until one more is back, while consistency=one still answers. ${writes}`];
  }
  if (c.short > 0) {
    return ['warn', `Nothing is lost: every partition has at least ${c.leastUp} owners up, and reads and writes go on.`];
  }
  return ['warn', 'Nothing is lost, and no partition needs it: every one has all of its owners.'];
}

function sayShunned(v, model) {
  const shunned = model.members.filter((m) => m.alive && !m.up);
  if (shunned.length > 0) {
    const names = list(shunned.map((m) => m.name));
    const [level, effect] = effectOfLoss(model);
    say(v, level, `${names} ${shunned.length === 1 ? 'does' : 'do'} not answer requests of ${model.node}.`, `The process seems to run, so the network between the two, a full disk or an overloaded machine are likely. ${effect}`);
    advise(v, 'See how the others find it, by asking one of them:', 'starling status');
  }
  const silent = model.silent.filter((m) => m.name !== model.node);
  if (silent.length > 0) {
    say(v, 'info', '', `${list(silent.map((m) => m.name))} did not say in time how ${silent.length === 1 ? 'it is' : 'they are'}: the hints there are not counted.`);
  }
}

function sayChanges(v, model) {
  for (const m of model.members.filter((n) => n.state === 'joining')) {
    say(v, 'info', `${m.name} is joining.`, m.alive ? filling(m) : 'It is not up: start it again, and it goes on where it was.');
    if (!m.alive) advise(v, `To give ${m.name} up:`, `starling cluster remove ${word(m.name)} --dry-run`);
  }
  const filled = model.members.filter((m) => m.state === 'active' && m.pending > 0);
  if (filled.length > 0) {
    const pending = filled.reduce((sum, m) => sum + m.pending, 0);
    say(v, 'info', 'Data is moving.', `${count(pending, 'partition is', 'partitions are')} being copied to ${list(filled.map((m) => m.name))}. Reads and writes go on.`);
  }
  for (const m of model.members.filter((n) => n.state === 'leaving')) {
    say(v, 'info', `${m.name} is leaving.`, m.leaving ? `It waits: ${m.leaving}.` : 'It hands over what it holds.');
  }
  if (model.members.some((m) => m.pending > 0 || m.state === 'joining' || m.state === 'leaving')) {
    advise(v, 'Nothing is to be done. To see it end:', 'starling status --watch --until-settled');
  }
}

function filling(m) {
  if (m.pending === 0) return 'It is about to become active.';
  const t = m.transfer;
  const done = t && t.bytes_total > 0 ? `, ${percent(Math.min(t.bytes_done, t.bytes_total), t.bytes_total)} of the bytes are there` : '';
  return `${count(m.pending, 'partition is', 'partitions are')} still being copied to it${done}. Reads and writes go on.`;
}

function sayFew(v, model) {
  const active = model.members.filter((m) => m.state === 'active');
  if (active.length === 0 || active.length >= model.replicas) return;
  say(v, 'info', '', `With ${count(active.length, 'node', 'nodes')} every value has ${count(active.length, 'copy', 'copies')} instead of ${model.replicas}. Add nodes before this cluster holds what must not be lost.`);
}

function sayHints(v, model) {
  if (model.hints === 0 || model.members.some((m) => !m.alive)) return;
  say(v, 'info', '', `${count(model.hints, 'write waits', 'writes wait')} as ${model.hints === 1 ? 'a hint' : 'hints'} for nodes that were out of reach, and ${isAre(model.hints)} being handed over.`);
  advise(v, 'See for whom, and whether it goes on:', 'starling hints ls');
}

function sayConvergence(v, model) {
  const c = model.convergence;
  if (!c || c.stale === 0 || !(c.pairs_total > 0)) return;
  const calm = model.members.every((m) => m.up && m.pending === 0);
  const never = c.unproven > 0 ? ` (${number(c.unproven)} of them never)` : '';
  const text = `${number(c.stale)} of ${count(c.pairs_total, 'pair', 'pairs')} of copies ${isAre(c.stale)} not proven equal${never}.`;
  say(v, 'info', '', calm ? `${text} The nodes compare them one after the other, unaided.` : `${text} That is as it must be until the above is over.`);
  if (calm) advise(v, 'To have them compared now:', 'starling repair start --wait');
}

function sayWell(v, model) {
  const parts = [`${count(model.members.length, 'node is', 'nodes are')} up`];
  if (model.layout) parts.push('every partition has its owners');
  parts.push('no write waits');
  const c = model.convergence;
  if (c && Number.isFinite(c.oldest_proof_seconds) && c.pairs_total > 0) {
    v.points.push({ level: 'ok', text: `${parts.join(', ')}, and all copies were proven equal within ${within(c.oldest_proof_seconds)}.` });
    return;
  }
  v.points.push({ level: 'ok', text: `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}.` });
}
