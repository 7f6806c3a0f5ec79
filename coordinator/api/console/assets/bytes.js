// Keys and values are bytes. This turns them into what can be shown and typed,
// and back, and never changes one on the way.

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function fromText(text) {
  return encoder.encode(text);
}

// toText is the text of UTF-8 bytes; null for any others.
export function toText(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

// editable says whether a text field gives back exactly what it is given: it
// would make LF of CR, and show no control characters.
export function editable(text) {
  // eslint-disable-next-line no-control-regex
  return text !== null && !/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text);
}

export function toBase64(bytes) {
  let binary = '';
  const step = 0x8000; // arguments of one call are bounded
  for (let i = 0; i < bytes.length; i += step) {
    binary += String.fromCharCode(...bytes.subarray(i, i + step));
  }
  return btoa(binary);
}

// fromBase64 is null where the text is none. Spaces and line ends are ignored.
export function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

// percentEncoded writes bytes as one segment of a path: a slash is encoded
// too, because browsers resolve ".." between slashes.
export function percentEncoded(bytes) {
  let path = '';
  for (const b of bytes) {
    const c = String.fromCharCode(b);
    path += /[A-Za-z0-9._~-]/.test(c) ? c : `%${b.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return path;
}

// percentDecoded is null where the text is not encoded rightly.
export function percentDecoded(text) {
  const out = [];
  const raw = fromText(text);
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] !== 0x25) {
      out.push(raw[i]);
      continue;
    }
    const hex = String.fromCharCode(...raw.subarray(i + 1, i + 3));
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) return null;
    out.push(parseInt(hex, 16));
    i += 2;
  }
  return Uint8Array.from(out);
}

// isDotSegment: browsers take such a segment out of a path, however it is encoded.
export function isDotSegment(bytes) {
  const text = toText(bytes);
  return text === '.' || text === '..';
}
