/* The main table of a view: sort, filter, hide, pin. Rows of the page are moved, never created. */
const tables = {};

function setUpTable(view) {
  const section = sectionOf(view);
  const table = section.querySelector('table.main');
  if (!table) return;
  const bodies = [...table.tBodies];
  const rows = {};
  const order = {};
  view.rows.forEach((row, index) => {
    const node = document.getElementById(`r-${row.k}`);
    rows[row.k] = { data: row, node, body: node.parentNode, text: `${row.n} ${row.f} ${row.t} ${row.w} ${node.cells[0].textContent}`.toLowerCase() };
    order[row.k] = index;
    node.cells[0].prepend(make('button', {
      type: 'button', class: 'pin', 'aria-pressed': 'false', title: 'Pin and compare', 'aria-label': `Pin ${row.n}`,
      onclick: () => pin(row.k),
    }));
  });
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    const key = index ? view.cols[index - 1].k : 'name';
    const button = make('button', { type: 'button', onclick: () => sortBy(view, key) });
    button.append(...head.childNodes);
    head.append(button);
  });
  tables[view.k] = { table, bodies, rows, order, heads, shown: [], frontier: new Set() };
  setUpTools(view, section.querySelector('.tools'));
}

function sortBy(view, key) {
  const column = view.cols.find((item) => item.k === key);
  const first = column && column.b === true ? '-' : '';
  const second = first ? '' : '-';
  const next = state.s === first + key ? second + key : state.s === second + key ? '' : first + key;
  set({ s: next });
}

function pin(key) {
  const pins = listOf(state.c);
  const at = pins.indexOf(key);
  if (at >= 0) pins.splice(at, 1);
  else if (pins.length === MAX_PINS) { toast(`At most ${MAX_PINS} rows can be compared.`); return; }
  else pins.push(key);
  set({ c: pins.join('~') });
}

function matches(view, row) {
  const kinds = listOf(state.d);
  if (kinds.includes(row.data.d)) return false;
  if (state.f && row.data.f !== state.f) return false;
  if (state.t && row.data.t !== state.t) return false;
  if (state.w && row.data.w !== state.w) return false;
  for (const [key, limit] of [['params', state.p], ['macs', state.m]]) {
    if (limit === '' || Number.isNaN(Number(limit))) continue;
    const index = costIndex(view, key);
    const cost = index < 0 ? null : row.data.v[index];
    if (cost == null || cost > Number(limit)) return false;
  }
  return state.q.toLowerCase().split(/\s+/).every((word) => row.text.includes(word));
}

/* Tracks count MACs by different rules. */
function costIndex(view, key) {
  const wanted = key === 'macs' ? ['macs', 'macs-superb'] : [key];
  return view.cols.findIndex((column) => wanted.includes(column.k));
}

function showTable(view) {
  const main = tables[view.k];
  if (!main) return;
  const { table, bodies, rows, order, heads } = main;
  const pins = listOf(state.c);
  const descending = state.s.startsWith('-');
  const key = state.s.replace(/^-/, '');
  const index = key === 'name' ? -1 : view.cols.findIndex((column) => column.k === key);
  const sorted = key === 'name' || index >= 0;
  const keyOf = (row) => {
    if (key === 'name') return row.data.n.toLowerCase();
    const cell = row.data.v[index];
    return cell == null && !view.cols[index].n ? row.node.cells[index + 1].textContent.toLowerCase() : cell;
  };
  const list = Object.values(rows);
  const keys = sorted ? new Map(list.map((row) => [row, keyOf(row)])) : null;
  list.sort((one, two) => {
    const pinned = pins.includes(two.data.k) - pins.includes(one.data.k);
    if (pinned) return pinned;
    if (keys) {
      const [a, b] = [keys.get(one), keys.get(two)];
      if (a == null || b == null) { if (a !== b) return (a == null) - (b == null); }
      else if (a !== b) return (a < b ? -1 : 1) * (descending ? -1 : 1);
    }
    return order[one.data.k] - order[two.data.k];
  });
  const hidden = listOf(state.h);
  main.shown = [];
  const sequence = list.map((row) => row.data.k).join();
  const moved = main.sequence !== sequence;
  main.sequence = sequence;
  for (const body of bodies) {
    const rows_ = list.filter((row) => row.body === body);
    if (moved) body.append(...rows_.map((row) => row.node));
    let any = false;
    for (const row of rows_) {
      const isPinned = pins.includes(row.data.k);
      const visible = isPinned || matches(view, row);
      if (row.node.hidden === visible) row.node.hidden = !visible;
      if (row.isPinned !== isPinned) {
        row.isPinned = isPinned;
        row.node.classList.toggle('pinned', isPinned);
        row.node.querySelector('.pin').setAttribute('aria-pressed', String(isPinned));
      }
      if (visible) { main.shown.push(row.data); any = true; }
    }
    body.hidden = !any;
  }
  heads.forEach((head, at) => {
    const name = at ? view.cols[at - 1].k : 'name';
    if (sorted && name === key) head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  });
  const wanted = hidden.join('~');
  if (main.hidden !== wanted) {
    main.hidden = wanted;
    const flags = view.cols.map((column) => hidden.includes(column.k));
    heads.forEach((head, at) => { if (at) head.hidden = flags[at - 1]; });
    for (const row of list) flags.forEach((flag, at) => { row.node.cells[at + 1].hidden = flag; });
    const spans = table.querySelectorAll('tr.head th');
    for (const cell of spans) cell.colSpan = 1 + flags.filter((flag) => !flag).length;
  }
}

function markFrontier(view, frontier) {
  for (const [key, row] of Object.entries(tables[view.k].rows)) {
    const star = row.node.querySelector('.star');
    if (frontier.has(key) && !star) {
      const mark = make('span', { class: 'star', title: 'on the frontier' }, '\u2605', make('span', { class: 'vh' }, ' on the frontier'));
      row.node.cells[0].querySelector('a').after(mark);
    } else if (!frontier.has(key) && star) star.remove();
  }
}
