// Numbers, times and lists as people read them.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

// number is a count with separators; an en dash where it is not known.
export function number(n) {
  return Number.isFinite(n) ? whole.format(n) : '–';
}

export function count(n, one, many) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

export function percent(part, all) {
  if (!(all > 0)) return '–';
  const p = (100 * part) / all;
  if (part < all && p >= 99.5) return `${Math.min(99.9, p).toFixed(1)} %`; // not all is not 100
  return `${p > 0 && p < 10 ? p.toFixed(1) : p.toFixed(0)} %`;
}

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  if (unit === 0) return count(n, 'byte', 'bytes');
  return `${n < 10 ? n.toFixed(1) : n.toFixed(0)} ${units[unit]}`;
}

// duration is a length of time in seconds, rounded.
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 1) return 'under 1 s';
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = seconds / 3600;
  if (hours < 48) return `${Math.round(hours)} h`;
  return `${Math.round(hours / 24)} days`;
}

// within is the span of time up to now that has a moment of `seconds` ago.
export function within(seconds) {
  return seconds < 1.5 ? 'the last second' : `the last ${duration(Math.ceil(seconds))}`;
}

export function milliseconds(ms) {
  if (!(ms > 0)) return '–';
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

// list joins names; beyond `most` it counts the rest.
export function list(names, most = 4) {
  if (names.length <= 1) return names.join('');
  if (names.length <= most) return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  return `${names.slice(0, most - 1).join(', ')} and ${names.length - most + 1} more`;
}

// time is a moment in the reader's own zone, without the day if that is today.
export function time(iso) {
  const t = new Date(iso);
  if (Number.isNaN(t.getTime())) return String(iso ?? '–');
  const two = (n) => String(n).padStart(2, '0');
  const today = t.toDateString() === new Date().toDateString();
  const day = today ? 'today' : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
  return `${day} ${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

export function clip(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`;
}

// byName puts n2 before n10.
export function byName(a, b) {
  return a.name.localeCompare(b.name, 'en', { numeric: true });
}
