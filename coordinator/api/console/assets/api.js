// Calls of this node's HTTP interface. Paths are relative, so that the console
// also works behind a proxy that serves it under a path of its own.

const timeoutMS = 8000;

// Problem is a failed call, in words for a person.
export class Problem extends Error {
  constructor(message, { status = 0, doc = null } = {}) {
    super(message);
    this.status = status; // 0: no answer came
    this.doc = doc;
  }
}

// call sends a request and waits, for a bounded time, for the whole answer.
export async function call(path, { method = 'GET', headers = {}, body, signal, waitMS = timeoutMS } = {}) {
  const deadline = AbortSignal.timeout(waitMS);
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  try {
    const response = await fetch(path, { method, headers, body, signal: either, credentials: 'same-origin' });
    return { status: response.status, headers: response.headers, bytes: new Uint8Array(await response.arrayBuffer()) };
  } catch (error) {
    if (signal?.aborted) throw error;
    if (deadline.aborted) throw new Problem(`no answer within ${waitMS / 1000} s`);
    throw new Problem('no connection');
  }
}

// json asks for a document; any answer but 200 is a Problem.
export async function json(path, options) {
  const answer = await call(path, { headers: { Accept: 'application/json' }, ...options });
  if (answer.status !== 200) throw problemOf(answer);
  return parse(answer);
}

// parse reads the JSON of an answer.
export function parse(answer) {
  try {
    return JSON.parse(new TextDecoder().decode(answer.bytes));
  } catch {
    throw new Problem('the answer is not JSON', { status: answer.status });
  }
}

// problemOf reads a problem document (RFC 9457), or makes do without.
export function problemOf(answer) {
  let doc = null;
  try {
    doc = parse(answer);
  } catch {
    // A proxy may have answered in its own words.
  }
  const text = doc && typeof doc.detail === 'string' ? doc.detail : `the answer was ${answer.status}`;
  return new Problem(text, { status: answer.status, doc });
}
