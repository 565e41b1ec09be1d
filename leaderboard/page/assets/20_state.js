/* The state of the page, all of it in the address: #v=open&s=-asr.wer&n=ood&q=... Defaults are left out. */
const DEFAULTS = { v: DATA.views[0].k, s: '', q: '', d: '', f: '', t: '', w: '', p: '', m: '', h: '', n: '', c: '', x: '', y: '', r: '', o: '' };
let state = { ...DEFAULTS };

const listOf = (text) => (text ? text.split('~') : []);

function writeHash(replace) {
  const parts = Object.keys(DEFAULTS).filter((key) => state[key] !== DEFAULTS[key])
    .map((key) => `${key}=${encodeURIComponent(state[key])}`);
  const hash = parts.length ? `#${parts.join('&')}` : location.pathname + location.search;
  try {
    history[replace ? 'replaceState' : 'pushState'](null, '', hash);
  } catch {
    if (parts.length) location.hash = hash;
  }
}

function readHash() {
  const text = location.hash.slice(1);
  const read = { ...DEFAULTS };
  if (text.includes('=')) {
    for (const part of text.split('&')) {
      const [key, ...rest] = part.split('=');
      if (Object.hasOwn(DEFAULTS, key)) {
        try { read[key] = decodeURIComponent(rest.join('=')); } catch { /* malformed: the default stays */ }
      }
    }
    if (!VIEWS[read.v]) read.v = DEFAULTS.v;
  } else if (VIEWS[text]) {
    read.v = text;
  } else if (text) {
    const row = document.getElementById(text);
    const section = row && row.closest('.view');
    if (section) read.v = section.id;
  }
  return read;
}

/* Change some of the state, show it, and remember it in the address. */
function set(changes, { replace = false } = {}) {
  state = { ...state, ...changes };
  writeHash(replace);
  show();
}
