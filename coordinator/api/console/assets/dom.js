// Every element is made here. Data becomes text nodes and attribute values,
// never markup; the page's policy forbids anything else.

const svgNamespace = 'http://www.w3.org/2000/svg';

// h makes an element: h('p', {class: 'x', onclick: f}, 'text', child).
// Attributes that are null, undefined or false are left out. `vars` sets CSS
// custom properties, which a policy without inline styles allows.
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// svg is h for drawings.
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(svgNamespace, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'vars') for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

const drawn = new WeakMap();

// redraw replaces an element's children with what build returns, but only
// when `of`, what they are drawn from, has changed: what a person has selected
// or focused stays while nothing new is to be seen.
export function redraw(element, of, build) {
  const signature = JSON.stringify(of);
  if (drawn.get(element) === signature) return;
  drawn.set(element, signature);
  element.replaceChildren();
  append(element, [build()]);
}

// redrawEach does so for each item of a list by itself; key tells the items
// apart, of is what an item's element is drawn from.
export function redrawEach(parent, items, key, of, build) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const now = items.map((item) => {
    const name = key(item);
    const signature = JSON.stringify(of(item));
    let element = before.get(name);
    if (!element || drawn.get(element) !== signature) {
      const focused = element?.contains(document.activeElement);
      const fresh = build(item);
      fresh.dataset.key = name;
      drawn.set(fresh, signature);
      if (element) element.replaceWith(fresh);
      if (focused) (fresh.matches('button, a') ? fresh : fresh.querySelector('button, a'))?.focus();
      element = fresh;
    }
    before.delete(name);
    return element;
  });
  for (const gone of before.values()) gone.remove();
  now.forEach((element, i) => {
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
  });
}

// icon is one of the drawn signs; it says nothing by itself, the text beside it does.
export function icon(name) {
  const paths = {
    ok: 'M3.5 8.5l3 3 6-7',
    info: 'M8 7.2v4.3M8 4.4v.2',
    warn: 'M8 4v5M8 11.6v.2',
    bad: 'M4.5 4.5l7 7M11.5 4.5l-7 7',
  };
  return svg('svg', { class: `icon icon-${name}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    svg('circle', { cx: 8, cy: 8, r: 8 }), svg('path', { d: paths[name] }));
}
