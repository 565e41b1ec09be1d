/* Severity curves of the rows compared (or the best), small pictures in sections, and tables of conditions. */
function setUpCurves(view) {
  const section = sectionOf(view);
  const box = section.querySelector('.robust-tools');
  if (!box) return;
  const tasks = Object.keys(view.tasks).map((task) => [task, view.cols[view.tasks[task].c].t]);
  const over = rungTasks(view);
  const first = over.length ? [['', `mean over ${over.join(', ').toUpperCase()}`]] : [];
  box.append(choice('Curves of', [...first, ...tasks], (task) => set({ r: task }), 'r'));
  box.hidden = false;
  for (const head of section.querySelectorAll('.robust th[data-n]')) {
    const name = head.dataset.n;
    const button = make('button', { type: 'button', title: 'Show this condition in the main table', onclick: () => { set({ n: name === 'clean' ? '' : name }); section.querySelector('.tools').scrollIntoView(); } });
    button.append(...head.childNodes);
    head.append(button);
  }
}

/* The tasks of the mean that were measured in rungs of ladders. */
const rungTasks = (view) => view.inf.filter((task) => view.conds.some(([, , , ladder], index) => ladder && meanTasks(view, index).includes(task)));

function showCurves(view) {
  const section = sectionOf(view);
  const box = section.querySelector('.robust-tools');
  if (!box) return;
  const task = Object.hasOwn(view.tasks, state.r) ? state.r : rungTasks(view).length ? 'mean' : Object.keys(view.tasks)[0];
  box.querySelector('[name=r]').value = task === 'mean' ? '' : task;
  const wanted = [task, state.c, ...tables[view.k].shown.map((row) => row.k)].join();
  if (tables[view.k].curves === wanted) return;
  tables[view.k].curves = wanted;
  const ladders = {};
  view.conds.forEach(([, , , ladder, level, unit], index) => {
    if (ladder) (ladders[ladder] ||= []).push({ level, unit, index });
  });
  const measured = (row, levels) => levels.some(({ index }) => scoreAt(row, task, index));
  const pins = listOf(state.c);
  const shown = tables[view.k].shown.filter((row) => (pins.length ? pins.includes(row.k) : row.o));
  const rows = shown.filter((row) => Object.values(ladders).some((levels) => measured(row, levels))).slice(0, MAX_PINS);
  const figures = Object.entries(ladders).filter(([, levels]) => levels.length > 1 && rows.some((row) => measured(row, levels)));
  const lines = figures.map(([, levels]) => rows.map((row) => [cleanOf(view, row, task, levels[0].index), ...levels.map(({ index }) => scoreAt(row, task, index)?.value)].map((value, at) => [at, value]).filter(([, value]) => value != null)));
  const chance = chanceOf(view, task, 0);
  const ends = range([chance, ...lines.flat(2).map(([, value]) => value)]);
  const key = make('p', { class: 'legend key' }, ...rows.flatMap((row, at) => [make('span', { class: 'line' }, svgKey(at), ` ${row.p}`), ' ']), rows.length ? make('span', {}, `Vertical: ${task === 'mean' ? 'mean lead over chance' : view.cols[view.tasks[task].c].t}, %. Dashed: chance. Compare rows in the main table to see theirs.`) : '');
  section.querySelector('.curves').replaceChildren(key, ...figures.map(([ladder, levels], at) => curveFigure(ladder, view.conds[levels[0].index][2], levels, lines[at], rows, chance, ends)));
}

function svgKey(at) {
  return svg('svg', { class: 'curve-plot', viewBox: '0 0 28 8', width: 28, height: 8, 'aria-hidden': 'true' }, svg('polyline', { class: `s${at}`, points: '0,4 28,4' }));
}

/* One ladder: scores in percent, from clean speech to the most severe rung; all pictures share one axis. */
function curveFigure(ladder, about, levels, lines, rows, chance, [low, high]) {
  const [w, h, l, r, t, b] = [320, 180, 40, 312, 10, 140];
  const px = (at) => l + (at / levels.length) * (r - l);
  const py = (value) => b - ((value - low) / (high - low || 1)) * (b - t);
  const picture = svg('svg', { class: 'curve-plot', viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': `${ladder}: score by severity of ${rows.map((row) => row.n).join(', ')}; the sections of these models have the numbers` });
  for (const tick of niceTicks(100 * low, 100 * high)) picture.append(svg('line', { class: 'grid', x1: l, x2: r, y1: py(tick / 100), y2: py(tick / 100) }), svg('text', { x: l - 6, y: py(tick / 100) + 4, 'text-anchor': 'end' }, String(tick)));
  picture.append(svg('line', { class: 'teacher', x1: l, x2: r, y1: py(chance), y2: py(chance) }));
  ['clean', ...levels.map(({ level }) => String(level))].forEach((text, at) => picture.append(svg('text', { x: px(at), y: b + 16, 'text-anchor': at ? (at === levels.length ? 'end' : 'middle') : 'start' }, text)));
  lines.forEach((line, at) => picture.append(svg('polyline', { class: `s${at}`, points: line.map(([i, value]) => `${px(i).toFixed(1)},${py(value).toFixed(1)}`).join(' ') })));
  return make('figure', {}, make('figcaption', {}, about), picture);
}

/* The table of a row's conditions, made on opening if the page has no room for all of them. */
function drawConditions(details) {
  const place = details.querySelector('p.all');
  const view = VIEWS[details.closest('.view').id];
  const row = place && view.rows.find((item) => item.k === details.id);
  if (!row) return;
  const tasks = Object.keys(row.s).filter((task) => task !== 'mean');
  const head = make('tr', {}, make('th', { scope: 'col', class: 't' }, 'Condition'), ...tasks.map((task) => make('th', { scope: 'col' }, task.toUpperCase())));
  const measured = view.conds.map(([name], index) => [name, index]).filter(([, index]) => index && tasks.some((task) => scoreAt(row, task, index)));
  const body = measured.map(([name, index]) => make('tr', {}, make('th', { scope: 'row' }, name), ...tasks.map((task) => {
    const score = scoreAt(row, task, index);
    const column = view.cols[view.tasks[task].c];
    const loss = lossOf(view, row, task, index);
    return make('td', {}, score ? (score.value * column.scale).toFixed(column.digits) : '\u2013', loss == null ? '' : make('small', {}, signed(loss)));
  })));
  const table = make('table', { class: 'heat' }, make('caption', {}, 'Score in %, and relative degradation, by task'), make('thead', {}, head), make('tbody', {}, ...body));
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
  // Where nothing is trained, the numbers are those of hidden states, the first of which is 0.
  if (points.length < 3 || points.some((point) => !Number.isFinite(point.rate))) return;
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
