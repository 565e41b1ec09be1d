/* The main table of a view: sort, filter, choose columns, pin. Rows of the page are moved, never created. */
const tables = {};
const SCREEN_ROWS = 20;

function setUpTable(view) {
  const section = sectionOf(view);
  const table = section.querySelector('table.main');
  if (!table) return;
  const rows = {};
  const order = {};
  view.rows.forEach((row, index) => {
    const node = document.getElementById(`r-${row.k}`);
    rows[row.k] = { data: row, node, body: node.parentNode, text: `${row.n} ${row.f} ${row.t} ${row.w} ${node.cells[0].textContent}`.toLowerCase() };
    order[row.k] = index;
    node.cells[0].prepend(make('button', {
      type: 'button', class: 'pin', 'aria-pressed': 'false', 'aria-label': `Compare ${row.n}`, onclick: () => pin(view, row),
    }, 'Compare'));
  });
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    const key = index ? view.cols[index - 1].k : 'name';
    if (index) view.cols[index - 1].base = head.className.replace(/\bg\b/, '').trim();
    const button = make('button', { type: 'button', onclick: () => sortBy(view, key) });
    button.append(...head.childNodes);
    head.append(button);
  });
  const heat = [...section.querySelectorAll('tr[data-k]')];
  tables[view.k] = { table, bodies: [...table.tBodies], rows, order, heads, heat, shown: [] };
  table.classList.add('js');
  drawHiddenBars(view, rows);
  for (const bar of table.querySelectorAll('.iv')) bar.setAttribute('preserveAspectRatio', 'none');
  for (const node of section.querySelectorAll('.every')) node.hidden = true;
  const empty = make('p', { class: 'empty', hidden: true }, 'No row matches. ', make('button', { type: 'button', onclick: () => set({ ...DEFAULTS, v: state.v }) }, 'Reset'));
  section.querySelector('.scroll').after(empty);
  setUpTools(view, section.querySelector('.tools'));
  table.addEventListener('click', (event) => {
    const cell = event.target.closest('tbody td');
    if (cell && cell.textContent !== '\u2013') showNumber(view, cell);
  });
}

/* Without a choice, rows are in the order of their mean, the best first. */
function order(view) {
  const key = state.s.replace(/^-/, '');
  if (key === 'name' || view.cols.some((column) => column.k === key)) return { key, descending: state.s.startsWith('-'), chosen: true };
  return { key: view.cols.some((column) => column.k === 'mean') ? 'mean' : '', descending: true, chosen: false };
}

function sortBy(view, key) {
  const column = view.cols.find((item) => item.k === key);
  const first = column && column.b === true ? '-' : '';
  const second = first ? '' : '-';
  const next = state.s === first + key ? second + key : state.s === second + key ? '' : first + key;
  set({ s: next });
}

function pin(view, row) {
  const pins = listOf(state.c);
  const at = pins.indexOf(row.k);
  if (at >= 0) pins.splice(at, 1);
  else if (pins.length === MAX_PINS) { toast(`At most ${MAX_PINS} rows can be compared.`); return; }
  else pins.push(row.k);
  set({ c: pins.join('~') });
  if (pins.length === 1) toast('Choose another row to compare it with.');
}

function matches(view, row) {
  if (listOf(state.d).includes(row.data.d)) return false;
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

/* Rows in order: pinned ones first, those without a value last. */
function sorted(view, main) {
  const pins = listOf(state.c);
  const { key, descending } = order(view);
  const column = view.cols.find((item) => item.k === key);
  const keyOf = ({ data, node }) => {
    if (key === 'name') return data.n.toLowerCase();
    if (!column) return null;
    return column.n ? valueOf(view, data, column).value : node.cells[view.cols.indexOf(column) + 1].textContent.toLowerCase();
  };
  const list = Object.values(main.rows);
  const keys = new Map(list.map((row) => [row, keyOf(row)]));
  return list.sort((one, two) => {
    const pinned = pins.includes(two.data.k) - pins.includes(one.data.k);
    if (pinned) return pinned;
    const [a, b] = [keys.get(one), keys.get(two)];
    if (a == null || b == null) { if (a !== b) return (a == null) - (b == null); }
    else if (a !== b) return (a < b ? -1 : 1) * (descending ? -1 : 1);
    return main.order[one.data.k] - main.order[two.data.k];
  });
}

/* Rows of the first screen are placed at once, the others after the next picture: a large table takes longer than a reader waits. */
function arrange(body, nodes) {
  const end = nodes.indexOf(nodes.filter((node) => !node.hidden)[SCREEN_ROWS]);
  const first = nodes.slice(0, end < 0 ? nodes.length : end);
  const head = body.querySelector('tr.head');
  if (head) head.after(...first); else body.prepend(...first);
  afterPaint(body, () => body.append(...nodes.slice(first.length)));
}

function showTable(view) {
  const main = tables[view.k];
  showCondition(view);
  const list = sorted(view, main);
  const pins = listOf(state.c);
  const sequence = list.map((row) => row.data.k).join();
  const moved = main.sequence !== undefined && main.sequence !== sequence;
  const first = main.sequence === undefined && sequence !== view.rows.map((row) => row.k).join();
  main.sequence = sequence;
  main.shown = [];
  for (const body of main.bodies) {
    const inside = list.filter((row) => row.body === body);
    let any = false;
    for (const row of inside) {
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
    if (moved || first) arrange(body, inside.map((row) => row.node));
  }
  sectionOf(view).querySelector('.empty').hidden = main.shown.length > 0;
  sectionOf(view).querySelector('.figure')?.toggleAttribute('hidden', !main.shown.length);
  const { key, descending } = order(view);
  main.heads.forEach((head, at) => {
    if (key === (at ? view.cols[at - 1].k : 'name')) head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  });
  afterPaint(main, () => showHeat(view, main));
  showColumns(view, main);
}

/* The tables of costs and conditions follow filters and order of the main table. */
function showHeat(view, main) {
  const place = new Map(main.shown.map((row, index) => [row.k, index]));
  const wanted = [...place.keys()].join();
  if (main.heatOrder === wanted) return;
  main.heatOrder = wanted;
  for (const body of new Set(main.heat.map((node) => node.parentNode))) {
    const nodes = main.heat.filter((node) => node.parentNode === body);
    nodes.sort((one, two) => (place.get(one.dataset.k) ?? Infinity) - (place.get(two.dataset.k) ?? Infinity));
    for (const node of nodes) node.hidden = !place.has(node.dataset.k);
    body.append(...nodes);
  }
}

/* Columns that are shown: the first ones, but for those that the address names, which change places. */
function isShown(view, column) {
  if (conditionOf(view) && column.g === 'score' && !taskOf(view, column)) return false;
  return Boolean(column.f) !== listOf(state.h).includes(column.k);
}

function showColumns(view, main) {
  const wanted = view.cols.map((column) => Number(isShown(view, column))).join('');
  if (main.columns === wanted) return;
  const before = main.columns;
  main.columns = wanted;
  main.table.classList.toggle('chosen', state.h !== '');
  const lines = [...main.table.tHead.rows, ...Object.values(main.rows).map((row) => row.node)];
  view.cols.forEach((column, at) => {
    if (before?.[at] === wanted[at]) return;
    for (const line of lines) line.cells[at + 1].hidden = wanted[at] === '0';
  });
  for (const cell of main.table.querySelectorAll('tr.head th')) cell.colSpan = 1 + [...wanted].filter((flag) => flag === '1').length;
}
