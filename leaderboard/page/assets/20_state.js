/* What the page shows, wholly in its address: #v=open&s=-asr.wer&q=... Defaults are left out. */
const DEFAULTS = { v: DATA.views.length ? DATA.views[0].k : '', s: '', q: '', d: '', f: '', t: '', w: '', p: '', m: '', h: '', c: '', x: '', y: '', r: '', o: '' };
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
  const found = { ...DEFAULTS };
  if (text.includes('=')) {
    for (const part of text.split('&')) {
      const [key, ...rest] = part.split('=');
      if (Object.hasOwn(DEFAULTS, key)) {
        try { found[key] = decodeURIComponent(rest.join('=')); } catch { /* not ours: the default stays */ }
      }
    }
    if (!VIEWS[found.v]) found.v = DEFAULTS.v;
  } else if (VIEWS[text]) {
    found.v = text;
  } else if (text) {
    const row = document.getElementById(text);
    const section = row && row.closest('.view');
    if (section) found.v = section.id;
  }
  return found;
}

/* Change some of the state, show it, and remember it in the address. */
function set(changes, { replace = false } = {}) {
  state = { ...state, ...changes };
  writeHash(replace);
  show();
}
