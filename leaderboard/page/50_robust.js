/* The heat map by task, severity curves, and small bars in the sections of upstreams. */
function setUpRobust(view) {
  const box = sectionOf(view).querySelector('.robust-tools');
  if (!box) return;
  const tasks = unique(view.rows.flatMap((row) => Object.keys(row.l)));
  const options = [['', 'mean over tasks'], ...tasks.map((task) => [task, task.toUpperCase()])];
  box.append(choice('Task', options, (task) => set({ r: task }), 'r'));
  box.hidden = false;
}

const shade = (loss) => (loss < -DATA.heat[0] ? 'c' : `h${DATA.heat.filter((edge) => loss >= edge).length}`);
const signed = (loss) => `${loss < 0 ? '\u2212' : '+'}${Math.abs(100 * loss).toFixed(1)}`;

/* [value, low, high] of a row in a condition: of one task, or the mean over tasks. */
function lossOf(row, index, task) {
  const parts = (task ? [row.l[task]] : Object.values(row.l)).filter((list) => list && list[index]).map((list) => list[index]);
  if (!parts.length) return null;
  const whole = parts.every((part) => part.length === 3);
  return [0, 1, 2].slice(0, whole ? 3 : 1).map((at) => parts.reduce((sum, part) => sum + part[at], 0) / parts.length / 1000);
}

function showRobust(view) {
  const section = sectionOf(view);
  const box = section.querySelector('.robust-tools');
  if (!box) return;
  const task = view.rows.some((row) => row.l[state.r]) ? state.r : '';
  box.querySelector('[name=r]').value = task;
  const shown = new Set(tables[view.k].shown.map((row) => row.k));
  const byKey = Object.fromEntries(view.rows.map((row) => [row.k, row]));
  for (const node of section.querySelectorAll('table.heat tbody tr')) {
    const row = byKey[node.dataset.k];
    node.hidden = !shown.has(row.k);
    if (section.dataset.task === task || node.hidden) { if (section.dataset.task === task) continue; }
    view.conds.forEach((condition, index) => {
      const cell = node.cells[index + 1];
      const loss = lossOf(row, index, task);
      cell.className = loss ? `n ${shade(loss[0])}` : 'n';
      cell.replaceChildren(loss ? signed(loss[0]) : '\u2013');
      if (loss && loss.length === 3) cell.append(make('small', {}, `${signed(loss[1])} to ${signed(loss[2])}`));
      cell.title = loss ? `${row.n}, ${condition}: ${cell.textContent}` : '';
    });
  }
  section.dataset.task = task;
  section.querySelector('table.heat caption').textContent = `${view.t}: relative degradation in %, ${task ? task.toUpperCase() : 'mean over tasks'}`;
  showCurves(view, section.querySelector('.curves'), task);
}

function showCurves(view, box, task) {
  const families = {};
  view.sev.forEach(([family, level, unit], index) => {
    if (level != null) (families[family] ||= []).push({ level, unit, index });
  });
  const pins = listOf(state.c);
  const candidates = tables[view.k].shown.filter((row) => Object.keys(row.l).length);
  const rows = (pins.length ? candidates.filter((row) => pins.includes(row.k)) : candidates.filter((row) => row.o)).slice(0, MAX_PINS);
  const figures = Object.entries(families).filter(([, levels]) => levels.length > 1)
    .map(([family, levels]) => curveFigure(family, levels.sort((a, b) => a.level - b.level), rows, task));
  box.replaceChildren(...figures);
}

function curveFigure(family, levels, rows, task) {
  const [w, h, l, r, t, b] = [320, 180, 40, 312, 10, 140];
  const lines = rows.map((row) => levels.map(({ index }, at) => [at, lossOf(row, index, task)]).filter(([, loss]) => loss));
  const losses = lines.flat().map(([, loss]) => loss[0]);
  const [low, high] = [Math.min(0, ...losses), Math.max(0.01, ...losses)];
  const px = (at) => l + (at / Math.max(levels.length - 1, 1)) * (r - l);
  const py = (loss) => b - ((loss - low) / (high - low)) * (b - t);
  const picture = svg('svg', { class: 'curve-plot', viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': `${family}: degradation by severity of ${rows.map((row) => row.n).join(', ')}; the table above has the numbers` });
  for (const tick of niceTicks(100 * low, 100 * high)) picture.append(svg('line', { class: 'grid', x1: l, x2: r, y1: py(tick / 100), y2: py(tick / 100) }), svg('text', { x: l - 6, y: py(tick / 100) + 4, 'text-anchor': 'end' }, String(tick)));
  levels.forEach(({ level, unit }, at) => picture.append(svg('text', { x: px(at), y: b + 16, 'text-anchor': at ? (at === levels.length - 1 ? 'end' : 'middle') : 'start' }, `${level} ${unit}`)));
  lines.forEach((line, at) => picture.append(svg('polyline', { class: `s${at}`, points: line.map(([i, loss]) => `${px(i).toFixed(1)},${py(loss[0]).toFixed(1)}`).join(' ') })));
  rows.forEach((row, at) => picture.append(svg('text', { class: `s${at}`, x: l + 6, y: t + 12 + 13 * at, fill: 'currentColor' }, `\u2014 ${row.n}`)));
  return make('figure', {}, picture, make('figcaption', {}, `${family}: relative degradation in %`));
}

/* Layer weights as small bars over the numbers they are drawn from. */
function drawBars(details) {
  for (const cell of details.querySelectorAll('td.lw')) {
    const weights = cell.textContent.trim().split(' ').map(Number);
    if (cell.firstElementChild || weights.length < 2 || weights.some(Number.isNaN)) continue;
    const top = Math.max(...weights, 1);
    const picture = svg('svg', { class: 'bars', viewBox: `0 0 ${10 * weights.length} 28`, width: 10 * weights.length, height: 28, 'aria-hidden': 'true' });
    weights.forEach((weight, at) => picture.append(svg('rect', { x: 10 * at + 1, y: 28 - (27 * weight) / top, width: 8, height: (27 * weight) / top, fill: 'currentColor' })));
    cell.prepend(picture);
  }
}
