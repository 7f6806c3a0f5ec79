// The console of a node: what it asks, when, and which view shows it.
//
// /v1/cluster is asked every 2 s; /v1/ring only when the map has changed, or
// was not got; /v1/hints with the cluster; /v1/convergence, for which the node
// asks every member for all its pairs, every 10 s, sooner when something has
// happened, and with its pairs only while they are looked at. Nothing is asked while the page is hidden.

import { json } from './api.js';
import { h, icon, redraw } from './dom.js';
import { judge } from './judge.js';
import { modelOf } from './model.js';
import { Poller } from './poll.js';
import { duration } from './text.js';
import * as overview from './overview.js';
import * as nodes from './nodes.js';
import * as convergence from './convergence.js';
import * as keys from './keys.js';

const element = (id) => document.getElementById(id);
const staleSeconds = 8; // after this the page says that it is not up to date
const hurryMS = 4000;

const app = { view: 'overview', ring: null, hints: null, drawing: null, wokeAt: Date.now() };
const show = {
  overview: overview.mount(element('overview')),
  nodes: nodes.mount(element('nodes')),
  convergence: convergence.mount(element('convergence')),
};
const keyView = keys.mount(element('keys'));

const cluster = new Poller(askCluster, 2000, draw);
const proofs = new Poller((signal) => json(`v1/convergence?pairs=${app.view === 'convergence'}`, { signal }), 10_000, draw);

async function askCluster(signal) {
  const doc = await json('v1/cluster', { signal });
  hurry(doc);
  await Promise.all([askRing(doc, signal), askHints(signal)]);
  return doc;
}

// hurry has the proofs asked for before their time where something has happened
// that they depend on.
function hurry(doc) {
  const state = JSON.stringify([doc.map_hash, doc.members?.map((m) => [m.alive, m.hints > 0])]);
  if (app.state && app.state !== state && !proofs.asking && Date.now() - proofs.at > hurryMS) proofs.now();
  app.state = state;
}

// askRing keeps the ring of the map that the cluster has now. Without one the
// page still says what it can.
async function askRing(doc, signal) {
  if (!doc.cluster_id) app.ring = null;
  if (!doc.cluster_id || app.ring?.map_hash === doc.map_hash) return;
  try {
    app.ring = await json('v1/ring', { signal });
  } catch (error) {
    if (signal.aborted) throw error;
  }
}

// askHints tells for whom this node keeps writes; the members' counts come
// with the cluster.
async function askHints(signal) {
  try {
    app.hints = await json('v1/hints', { signal });
  } catch (error) {
    if (signal.aborted) throw error;
  }
}

// draw shows what is known, soon: changes that come together are one.
function draw() {
  app.drawing ??= setTimeout(() => {
    app.drawing = null;
    drawNow();
  });
}

function drawNow() {
  drawLive();
  if (!cluster.data) return;
  const model = modelOf(cluster.data, app.ring, proofs.data, app.hints);
  document.title = `${model.node || 'Starling'} · Starling`;
  redraw(element('node'), [model.node, model.clusterID], () => [
    h('b', null, model.node), model.clusterID ? h('span', { class: 'quiet', title: `Cluster ${model.clusterID}` }, ` cluster ${model.clusterID.slice(0, 8)}`) : null]);
  const verdict = judge(model, location.host === '127.0.0.1:4700' ? '' : location.host);
  const full = app.view === 'overview';
  element('verdict').className = `verdict ${verdict.level}${full ? '' : ' brief'}`;
  redraw(element('headline'), [verdict.level, verdict.headline], () => h('h1', { class: 'headline' }, icon(verdict.level), verdict.headline));
  redraw(element('points'), [full, verdict.points], () => full ? verdict.points.map((p) => h('p', { class: `point ${p.level}` }, p.text)) : null);
  redraw(element('commands'), [full, verdict.commands], () => full && verdict.commands.length > 0 ? commands(verdict.commands) : null);
  if (app.view === 'convergence') show.convergence(model, proofs);
  else show[app.view]?.(model);
}

function commands(list) {
  return h('dl', { class: 'commands' }, list.map((c) => [
    h('dt', null, c.why), h('dd', null, h('code', { tabindex: 0 }, c.command), copyButton(c.command))]));
}

function copyButton(text) {
  if (!navigator.clipboard) return null; // not on plain HTTP from elsewhere
  const button = h('button', { type: 'button', class: 'copy-button', 'aria-label': `Copy ${text}` }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Not allowed';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  return button;
}

// drawLive says how old what is shown is. It runs every second, too.
function drawLive() {
  const age = cluster.at ? Math.max(0, (Date.now() - cluster.at) / 1000) : null;
  const failed = cluster.failures > 0;
  const late = age > staleSeconds && (Date.now() - app.wokeAt) / 1000 > staleSeconds;
  const level = failed || late ? 'bad' : age === null ? '' : 'ok';
  const words = age === null ? (failed ? 'not reachable' : 'asking …') : `updated ${age < 1.5 ? 'now' : `${Math.round(age)} s ago`}`;
  redraw(element('live'), [level, words, failed], () => [
    h('span', { class: `pulse ${level}`, 'aria-hidden': 'true' }), h('span', null, failed && age !== null ? `not reachable, ${words}` : words)]);
  const stale = element('stale');
  stale.hidden = !(failed || late);
  if (stale.hidden) return;
  const why = cluster.error ? ` (${cluster.error.message.replace(/\.$/, '')})` : '';
  const next = cluster.nextAt > Date.now() ? `Trying again in ${Math.ceil((cluster.nextAt - Date.now()) / 1000)} s.` : 'Trying again …';
  const since = age === null ? 'Nothing is known yet.' : `What is shown is ${duration(age)} old.`;
  redraw(stale, [why, since], () => [
    h('p', null, h('b', null, `${cluster.data?.node ?? 'The node'} does not answer${why}.`), ` ${since} `, h('span', { class: 'next' })),
    h('button', { type: 'button', onclick: () => cluster.now() }, 'Try now')]);
  stale.querySelector('.next').textContent = next;
}

// route shows the view that the page's address names.
function route() {
  const [, view = '', bucket = '', ...rest] = location.hash.split('/');
  const before = app.view;
  app.view = view === 'keys' || show[view] ? view : 'overview';
  for (const name of ['overview', 'nodes', 'convergence', 'keys']) element(name).hidden = name !== app.view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === app.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (app.view === 'keys') {
    keyView.buckets();
    keyView.open(bucket, rest.join('/'));
  }
  if (app.view === 'convergence' && before !== 'convergence') proofs.now();
  drawNow();
}

let ticking = null;
function wake() {
  const hidden = document.hidden;
  for (const poller of [cluster, proofs]) hidden ? poller.stop() : poller.start();
  clearInterval(ticking);
  ticking = hidden ? null : setInterval(drawLive, 1000);
  app.wokeAt = Date.now();
  if (!hidden) drawNow();
}

addEventListener('hashchange', route);
document.addEventListener('visibilitychange', wake);
route();
wake();
