/* The heat map by task, severity curves, and small bars in the sections of upstreams. */
function setUpRobust(view) {
  const box = sectionOf(view).querySelector('.robust-tools');
  if (!box) return;
  const tasks = unique(view.rows.flatMap((row) => Object.keys(row.l)));
  const options = [['', 'mean over tasks'], ...tasks.map((task) => [task, task.toUpperCase()])];
  box.append(choice('Task', options, (task) => set({ r: task }), 'r'));
  const byKey = Object.fromEntries(view.rows.map((row) => [row.k, row]));
  const maps = [...sectionOf(view).querySelectorAll('.robust table.heat')];
  tables[view.k].heat = maps.flatMap((table, at) => [...table.tBodies[0].rows].map((node) => ({ node, row: byKey[node.dataset.k], cells: [...node.cells].slice(1), columns: view.heat[at] })));
  sectionOf(view).dataset.task = '';
  maps.forEach((table, at) => table.addEventListener('mouseover', (event) => {
    const cell = event.target.closest('td');
    if (cell && !cell.title) cell.title = `${cell.parentNode.cells[0].textContent}, ${view.heat[at][cell.cellIndex - 1][0]}`;
  }));
  box.hidden = false;
}

const shade = (loss) => (loss < -DATA.heat[0] ? 'c' : `h${DATA.heat.filter((edge) => loss >= edge).length}`);
const signed = (loss) => `${loss < 0 ? '\u2212' : '+'}${Math.abs(100 * loss).toFixed(1)}`;

/* Seven letters a condition, as leaderboard/page/render.py packs them: [value, low, high] in 0.001. */
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
function unpack(text, index) {
  const part = text.slice(7 * index, 7 * index + 7);
  if (part.length < 7 || part[0] === '*') return null;
  const number = (from, to) => [...part.slice(from, to)].reduce((sum, letter) => 64 * sum + DIGITS.indexOf(letter), 0);
  const loss = number(0, 3) - 131072;
  return part.endsWith('____') ? [loss] : [loss, loss - number(3, 5), loss + number(5, 7)];
}

/* [value, low, high] of a row over conditions: of one task, or the mean over tasks that have all of them. */
function lossOf(row, indices, task) {
  const parts = (task ? [row.l[task]] : Object.values(row.l)).filter(Boolean).map((text) => meanOf(indices.map((index) => unpack(text, index)))).filter(Boolean);
  const mean = parts.length ? meanOf(parts) : null;
  return mean && mean.map((value) => value / 1000);
}

/* The mean of losses; null if one is missing, without an interval if one has none. */
function meanOf(parts) {
  if (!parts.every(Boolean)) return null;
  const complete = parts.every((part) => part.length === 3);
  return [0, 1, 2].slice(0, complete ? 3 : 1).map((at) => parts.reduce((sum, part) => sum + part[at], 0) / parts.length);
}

function showRobust(view) {
  const section = sectionOf(view);
  const box = section.querySelector('.robust-tools');
  if (!box) return;
  const task = view.rows.some((row) => Object.hasOwn(row.l, state.r)) ? state.r : '';
  box.querySelector('[name=r]').value = task;
  const shown = new Set(tables[view.k].shown.map((row) => row.k));
  const { heat } = tables[view.k];
  for (const { node, row, cells, columns } of heat) {
    const visible = shown.has(row.k);
    if (node.hidden === visible) node.hidden = !visible;
    if (section.dataset.task === task) continue;
    cells.forEach((cell, at) => fill(cell, lossOf(row, columns[at][1], task), task ? '' : fewer(view, row, columns[at][1])));
  }
  if (section.dataset.task !== task) for (const text of section.querySelectorAll('.robust caption span')) text.textContent = task ? task.toUpperCase() : 'mean over tasks';
  section.dataset.task = task;
  const wanted = [task, state.c, ...[...shown].sort()].join();
  if (tables[view.k].curves === wanted) return;
  tables[view.k].curves = wanted;
  showCurves(view, section.querySelector('.curves'), task);
}

/* The tasks of a row in conditions, if other rows have more: a mean over fewer is not comparable. */
function fewer(view, row, indices) {
  const tasksOf = (one) => Object.keys(one.l).filter((task) => indices.every((index) => unpack(one.l[task], index)));
  const named = (tasks) => unique(tasks.map((task) => task.toUpperCase())).sort().join(', ');
  const every = (view.every ||= {})[indices] ??= named(view.rows.flatMap(tasksOf));
  const mine = named(tasksOf(row));
  return mine && mine !== every ? `only ${mine}` : '';
}

/* Write a degradation into a cell; elements that exist are changed, which is quicker. */
function fill(cell, loss, note) {
  const name = loss ? shade(loss[0]) : '';
  if (cell.className !== name) cell.className = name;
  cell.firstChild.data = loss ? signed(loss[0]) : '\u2013';
  const interval = loss && loss.length === 3 ? `${signed(loss[1])} to ${signed(loss[2])}` : '';
  for (const [tag, text] of [['i', interval], ['b', note]]) {
    const part = cell.querySelector(tag);
    if (part) part.textContent = text;
    else if (text) cell.append(make(tag, {}, text));
  }
}

function showCurves(view, box, task) {
  const families = {};
  view.sev.forEach(([family, level, unit], index) => {
    if (level != null) (families[family] ||= []).push({ level, unit, index });
  });
  const pins = listOf(state.c);
  const shown = new Set(tables[view.k].shown);
  const ladders = Object.entries(families).filter(([, levels]) => levels.length > 1);
  const has = (row, [, levels]) => levels.some(({ index }) => curveLoss(view, row, index, task));
  const counts = view.rows.filter((row) => shown.has(row) && (pins.length ? pins.includes(row.k) : row.o))
    .map((row) => ({ row, count: ladders.filter((ladder) => has(row, ladder)).length })).filter(({ count }) => count);
  const rows = counts.sort((one, other) => other.count - one.count).slice(0, MAX_PINS).map(({ row }) => row);
  const figures = ladders.filter((ladder) => rows.some((row) => has(row, ladder))).map((ladder) => curveFigure(view, ladder, rows, task));
  const key = make('p', { class: 'legend key' }, ...rows.flatMap((row, at) => [svgKey(at), ` ${row.p}  `]));
  box.replaceChildren(...(figures.length ? [key, ...figures] : []));
}

function svgKey(at) {
  return svg('svg', { class: 'curve-plot', viewBox: '0 0 28 8', width: 28, height: 8, 'aria-hidden': 'true' }, svg('polyline', { class: `s${at}`, points: '0,4 28,4' }));
}

/* No mean over tasks for a row that lacks some: its curve is not comparable. */
function curveLoss(view, row, index, task) {
  return !task && fewer(view, row, [index]) ? null : lossOf(row, [index], task);
}

function curveFigure(view, [family, levels], rows, task) {
  const [w, h, l, r, t, b] = [320, 180, 40, 312, 10, 140];
  const lines = rows.map((row) => levels.map(({ index }, at) => [at, curveLoss(view, row, index, task)]).filter(([, loss]) => loss));
  const losses = lines.flat().map(([, loss]) => loss[0]);
  const [low, high] = [Math.min(0, ...losses), Math.max(0.01, ...losses)];
  const px = (at) => l + (at / Math.max(levels.length - 1, 1)) * (r - l);
  const py = (loss) => b - ((loss - low) / (high - low)) * (b - t);
  const picture = svg('svg', { class: 'curve-plot', viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': `${family}: degradation by severity of ${rows.map((row) => row.n).join(', ')}; the sections of these upstreams have the numbers` });
  for (const tick of niceTicks(100 * low, 100 * high)) picture.append(svg('line', { class: 'grid', x1: l, x2: r, y1: py(tick / 100), y2: py(tick / 100) }), svg('text', { x: l - 6, y: py(tick / 100) + 4, 'text-anchor': 'end' }, String(tick)));
  levels.forEach(({ level, unit }, at) => picture.append(svg('text', { x: px(at), y: b + 16, 'text-anchor': at ? (at === levels.length - 1 ? 'end' : 'middle') : 'start' }, `${level} ${unit}`)));
  lines.forEach((line, at) => picture.append(svg('polyline', { class: `s${at}`, points: line.map(([i, loss]) => `${px(i).toFixed(1)},${py(loss[0]).toFixed(1)}`).join(' ') })));
  return make('figure', {}, picture, make('figcaption', {}, `${family}: relative degradation in %`));
}

/* The table of a row's conditions, made on opening if the page has no room for all of them. */
function drawConditions(details) {
  const place = details.querySelector('p.all');
  const view = VIEWS[details.closest('.view').id];
  const row = place && view.rows.find((item) => item.k === details.id);
  if (!row) return;
  const tasks = Object.keys(row.l);
  const head = make('tr', {}, make('th', { scope: 'col', class: 't' }, 'Condition'), ...tasks.map((task) => make('th', { scope: 'col' }, task.toUpperCase())));
  const measured = view.conds.map((name, index) => [name, index]).filter(([, index]) => tasks.some((task) => unpack(row.l[task], index)));
  const body = measured.map(([name, index]) => make('tr', {}, make('th', { scope: 'row' }, name), ...tasks.map((task) => {
    const loss = unpack(row.l[task], index);
    const cell = make('td', { class: loss ? shade(loss[0] / 1000) : null }, loss ? signed(loss[0] / 1000) : '\u2013');
    if (loss && loss.length === 3) cell.append(make('i', {}, `${signed(loss[1] / 1000)} to ${signed(loss[2] / 1000)}`));
    return cell;
  })));
  const table = make('table', { class: 'heat' }, make('caption', {}, 'Relative degradation in %, by task'), make('thead', {}, head), make('tbody', {}, ...body));
  place.replaceWith(make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': `${row.n}: every condition` }, table));
}

/* Layer weights as small bars, learning rates as a small curve, above their numbers. */
function drawBars(details) {
  for (const cell of details.querySelectorAll('td.lw')) {
    if (cell.dataset.drawn) continue;
    cell.dataset.drawn = '1';
    drawRates(cell.previousElementSibling);
    const weights = cell.textContent.trim().split(' ').map(Number);
    if (weights.length < 2 || weights.some(Number.isNaN)) continue;
    const top = Math.max(...weights, 1);
    const width = 10 * weights.length;
    const picture = svg('svg', { class: 'bars', viewBox: `0 0 ${width} 28`, width, height: 28, 'aria-hidden': 'true' });
    weights.forEach((weight, at) => picture.append(svg('rect', { x: 10 * at + 1, y: 28 - (27 * weight) / top, width: 8, height: (27 * weight) / top, fill: 'currentColor' })));
    cell.prepend(picture);
  }
}

/* Dev score against learning rate, small rates at the left; the chosen one is a disc. */
function drawRates(cell) {
  const points = [...cell.textContent.matchAll(/(\[?)([\d.e-]+): ([\d.]+)/g)]
    .map(([, mark, rate, score]) => ({ chosen: mark === '[', rate: Math.log10(rate), score: Number(score) }))
    .sort((a, b) => a.rate - b.rate);
  if (points.length < 3) return;
  const ends = (key) => [Math.min(...points.map((point) => point[key])), Math.max(...points.map((point) => point[key]))];
  const [[left, right], [low, high]] = [ends('rate'), ends('score')];
  const px = (point) => (4 + (82 * (point.rate - left)) / (right - left)).toFixed(1);
  const py = (point) => (24 - (20 * (point.score - low)) / (high - low || 1)).toFixed(1);
  const best = points.find((point) => point.chosen);
  const picture = svg('svg', { class: 'bars', viewBox: '0 0 90 28', width: 90, height: 28, 'aria-hidden': 'true' },
    svg('polyline', { points: points.map((point) => `${px(point)},${py(point)}`).join(' '), fill: 'none', stroke: 'currentColor' }));
  if (best) picture.append(svg('circle', { cx: px(best), cy: py(best), r: 3, fill: 'currentColor' }));
  cell.prepend(picture);
}
