/* The data of the page: JSON, or deflated base64 where it is long. */
async function dataText() {
  const text = document.getElementById('data').textContent;
  if (text.startsWith('{')) return text;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
}
const DATA = JSON.parse(await dataText());
/* Without a prototype: an address may ask for a view called "constructor". */
const VIEWS = Object.assign(Object.create(null), Object.fromEntries(DATA.views.map((view) => [view.k, view])));
const MAX_PINS = 4;

/* An element; text is text, never markup. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

for (const view of DATA.views) {
  const byColumn = (items) => Object.fromEntries(view.cols.map((column, at) => [column.k, items[at]]).filter(([, item]) => item));
  for (const row of view.rows) Object.assign(row, { p: row.p ?? row.n, e: byColumn(row.e), b: byColumn(row.b) });
}
const sectionOf = (view) => document.getElementById(view.k);

let toastTimer = 0;
function toast(...content) {
  const box = document.getElementById('toast');
  box.replaceChildren(...content);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.replaceChildren(), 6000);
}

function download(name, type, text) {
  const blob = text instanceof Blob ? text : new Blob([text], { type });
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const signed = (share, digits = 1) => `${share < 0 ? '\u2212' : '+'}${Math.abs(100 * share).toFixed(digits)}`;
const range = (values) => [Math.min(...values), Math.max(...values)];

/* Do a task once the next picture is painted. A later task of the same key takes its place; printing waits for none. */
const waiting = new Map();
function afterPaint(key, task) {
  if (!waiting.has(key)) requestAnimationFrame(() => setTimeout(() => finish(key)));
  waiting.set(key, task);
}
function finish(key) {
  const task = waiting.get(key);
  waiting.delete(key);
  task?.();
}
addEventListener('beforeprint', () => { for (const key of [...waiting.keys()]) finish(key); });
