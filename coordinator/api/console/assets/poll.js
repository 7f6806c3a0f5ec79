// Asking again and again, without ever waiting for two answers at once.

const slowestMS = 30_000;

// Poller asks every everyMS while it runs, less often while it fails, and not
// at all while the page is hidden. An answer that is late delays the next
// question, nothing else.
export class Poller {
  constructor(ask, everyMS, changed) {
    this.ask = ask;
    this.everyMS = everyMS;
    this.changed = changed;
    this.data = null;
    this.at = 0; // when the last answer came
    this.error = null; // why the last question failed
    this.failures = 0;
    this.nextAt = 0;
    this.running = false;
    this.abort = null;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.soon(0);
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  // asking: a question is under way.
  get asking() {
    return this.abort !== null;
  }

  // now asks at once; a question under way is given up.
  now() {
    if (!this.running) return;
    this.abort?.abort();
    this.abort = null;
    this.soon(0);
  }

  soon(ms) {
    clearTimeout(this.timer);
    this.nextAt = Date.now() + ms;
    this.timer = setTimeout(() => this.once(), ms);
  }

  async once() {
    const abort = new AbortController();
    this.abort = abort;
    try {
      const data = await this.ask(abort.signal);
      if (this.abort !== abort) return;
      Object.assign(this, { data, at: Date.now(), error: null, failures: 0 });
    } catch (error) {
      if (this.abort !== abort) return;
      this.error = error;
      this.failures++;
    }
    this.abort = null;
    const wait = Math.min(this.everyMS * 2 ** Math.min(this.failures, 5), Math.max(slowestMS, this.everyMS));
    // Consoles that failed together should not come back together.
    this.soon(this.failures ? wait * (0.8 + 0.4 * Math.random()) : wait);
    this.changed();
  }
}
