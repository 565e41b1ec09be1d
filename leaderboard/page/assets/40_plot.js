/* Score against cost of the rows shown, under the chosen condition, with intervals, the lines of
   teachers and chance, and the curves of supernets. Replaces the picture of leaderboard/page/picture.py. */
const BOX = innerWidth > 640 ? { w: 760, h: 420, l: 62, r: 742, t: 16, b: 372 } : { w: 360, h: 400, l: 48, r: 356, t: 16, b: 352 };
const CROWD = 8;
const FEW = 3;
const plots = {};

const costColumns = (view) => view.cols.filter((column) => column.l);
const scoreColumns = (view) => view.cols.filter((column) => column.b !== null && !column.l);

function setUpPlot(view) {
  const box = sectionOf(view).querySelector('.plot-tools');
  if (!box) return;
  const options = (columns) => columns.map((column) => [column.k, column.t]);
  box.append(
    choice('Cost', options(costColumns(view)), (key) => set({ x: key }), 'x'),
    choice('Score', options(scoreColumns(view)), (key) => set({ y: key }), 'y'),
    make('button', { type: 'button', name: 'svg', onclick: () => saveSvg(view) }, 'Save SVG'),
    make('button', { type: 'button', name: 'png', onclick: () => savePng(view) }, 'Save PNG'),
  );
  box.hidden = false;
  plots[view.k] = sectionOf(view).querySelector('svg.pareto');
  plots[view.k].setAttribute('viewBox', `0 0 ${BOX.w} ${BOX.h}`);
  plots[view.k].classList.add('js');
}

function axes(view) {
  const xs = costColumns(view);
  const ys = scoreColumns(view);
  return { x: xs.find((column) => column.k === state.x) || xs[0], y: ys.find((column) => column.k === state.y) || ys.find((column) => column.k === view.y) };
}

/* A time is compared on one CPU only: on the one that most rows were timed on. */
function cpuOf(view, column) {
  if (column.k !== 'time') return null;
  const counts = {};
  for (const row of view.rows) if (row.u) counts[row.u] = (counts[row.u] ?? 0) + 1;
  return Object.keys(counts).sort((a, b) => counts[b] - counts[a])[0] ?? null;
}

function pointsOf(view, x, y) {
  const ix = view.cols.indexOf(x);
  const cpu = cpuOf(view, x);
  const shown = new Set(tables[view.k].shown);
  const points = view.rows.filter((row) => shown.has(row) && (!cpu || row.u === cpu))
    .map((row) => ({ row, x: row.v[ix], y: valueOf(view, row, y).value, ...valueOf(view, row, y) }))
    .filter((point) => point.x != null && point.y != null);
  const others = points.filter((point) => point.row.o && point.row.f !== 'baseline');
  const chosen = others.length >= CROWD ? points.filter((point) => point.row.f !== 'baseline') : points;
  return chosen.filter((point) => point.row.o).length >= FEW ? chosen.filter((point) => point.row.o) : chosen;
}

function frontierOf(points, higher) {
  const sign = higher ? -1 : 1;
  const sorted = points.filter((point) => point.row.o)
    .sort((a, b) => a.x - b.x || sign * (a.y - b.y) || (a.row.k < b.row.k ? -1 : 1));
  let best = Infinity;
  return sorted.filter((point) => (sign * point.y < best ? ((best = sign * point.y), true) : false));
}

function scales(points, levels) {
  const costs = points.map((point) => point.x);
  const positive = costs.filter((x) => x > 0);
  const logs = (positive.length ? positive : [1]).map(Math.log10);
  const zero = costs.some((x) => x <= 0);
  const [lo, hi] = [Math.min(...logs), Math.max(...logs)];
  const room = Math.max((hi - lo) * 0.08, 0.08);
  const [low, high] = [lo - room, hi + room];
  const start = BOX.l + (zero ? 56 : 0);
  const px = (x) => (x <= 0 ? BOX.l + 18 : start + ((Math.log10(x) - low) / (high - low)) * (BOX.r - start));
  const xTicks = zero ? [[BOX.l + 18, '0']] : [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const step of high - low < 1.2 ? [1, 1.5, 2, 3, 5, 7] : high - low < 2.5 ? [1, 2, 5] : [1]) {
      const tick = step * 10 ** power;
      if (Math.log10(tick) >= low && Math.log10(tick) <= high) xTicks.push([px(tick), String(Number(tick.toPrecision(6)))]);
    }
  }
  let [bottom, top] = range(points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]).concat(levels.map(([, value]) => value)));
  const air = Math.max((top - bottom) * 0.08, Math.abs(top) * 0.01, 1e-6);
  bottom -= air;
  top += air;
  const py = (y) => BOX.b - ((y - bottom) / (top - bottom)) * (BOX.b - BOX.t);
  return { px, py, xTicks, yTicks: niceTicks(bottom, top).map((y) => [py(y), String(y)]) };
}

function niceTicks(low, high) {
  const raw = Math.max(high - low, 1e-9) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k += 1) ticks.push(Number((k * step).toPrecision(10)));
  return ticks;
}

/* The first free place for a text; marks it as taken. */
function place(places, text, taken) {
  const width = 7 * text.length;
  const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  for (const [x, y, anchor] of places) {
    const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
    const box = [left, y - 10, left + width, y + 3];
    if (box[0] < BOX.l || box[2] > BOX.w || box[1] < BOX.t || box[1] > BOX.b || taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    return { x, y, 'text-anchor': anchor };
  }
  return null;
}

function placeLabels(dots, taken) {
  for (const dot of dots) {
    dot.label = place([[dot.px + 9, dot.py + 4, 'start'], [dot.px - 9, dot.py + 4, 'end'], [dot.px, dot.py - 10, 'middle'], [dot.px, dot.py + 18, 'middle']], dot.row.p, taken);
  }
}

function mark(kind, x, y) {
  if (kind === 'measured') return svg('circle', { cx: x, cy: y, r: 5 });
  if (kind === 'reported') return svg('rect', { x: x - 4.5, y: y - 4.5, width: 9, height: 9 });
  return svg('path', { d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8` });
}

function showPlot(view) {
  const picture = plots[view.k];
  if (!picture) return;
  const { x, y } = axes(view);
  const box = sectionOf(view).querySelector('.plot-tools');
  box.querySelector('[name=x]').value = x.k;
  box.querySelector('[name=y]').value = y.k;
  const points = pointsOf(view, x, y);
  const drawn = [x.k, y.k, state.c, state.n, ...points.map((point) => point.row.k).sort()].join();
  if (tables[view.k].drawn === drawn) return;
  tables[view.k].drawn = drawn;
  picture.setAttribute('aria-label', `${y.t} against ${x.t}; ${points.length} rows`);
  if (!points.length) {
    picture.replaceChildren(svg('text', { x: BOX.w / 2, y: BOX.h / 2, 'text-anchor': 'middle' }, 'No row has both.'));
    return;
  }
  const levels = levelsOf(view, y, points);
  const { px, py, xTicks, yTicks } = scales(points, levels);
  const front = frontierOf(points, y.b);
  const on = new Set(front.map((point) => point.row.k));
  const corners = (list) => list.map((point) => `${px(point.x).toFixed(1)},${py(point.y).toFixed(1)}`).join(' ');
  const grid = svg('g', { class: 'axes', 'aria-hidden': 'true' });
  for (const [at, text] of xTicks) grid.append(svg('line', { class: 'grid', x1: at, x2: at, y1: BOX.t, y2: BOX.b }), svg('text', { x: at, y: BOX.b + 16, 'text-anchor': 'middle' }, text));
  for (const [at, text] of yTicks) grid.append(svg('line', { class: 'grid', x1: BOX.l, x2: BOX.r, y1: at, y2: at }), svg('text', { x: BOX.l - 8, y: at + 4, 'text-anchor': 'end' }, text));
  grid.append(
    svg('text', { x: (BOX.l + BOX.r) / 2, y: BOX.h - 8, 'text-anchor': 'middle' }, `${x.t} (${x.a.split(';')[0]})${cpuOf(view, x) ? `, on ${cpuOf(view, x)}` : ''}`),
    svg('text', { transform: `translate(14 ${(BOX.t + BOX.b) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, `${y.t} (${y.a.split(';')[0]})${conditionOf(view) ? `, ${state.n}` : ''}`),
  );
  const dots = points.map((point) => ({ ...point, px: px(point.x), py: py(point.y) }));
  const taken = dots.map((dot) => [dot.px - 5, dot.py - 5, dot.px + 5, dot.py + 5]);
  const nodes = [grid, ...levelLines(levels, py, taken)];
  for (const dot of dots) if (dot.low != null) nodes.push(svg('path', { class: 'whisker', d: `M${dot.px.toFixed(1)} ${py(dot.low).toFixed(1)}V${py(dot.high).toFixed(1)}` }));
  const curves = Object.groupBy ? Object.groupBy(points.filter((point) => point.row.c), (point) => point.row.c) : {};
  for (const curve of Object.values(curves)) {
    if (curve.length > 1) nodes.push(svg('polyline', { class: 'curve', points: corners(curve.sort((a, b) => a.x - b.x)) }));
  }
  nodes.push(svg('polyline', { class: 'front', points: corners(front) }));
  const pins = listOf(state.c);
  const rank = (dot) => (pins.includes(dot.row.k) ? 0 : on.has(dot.row.k) ? 1 : 2);
  placeLabels([...dots].sort((a, b) => rank(a) - rank(b)), taken);
  for (const dot of dots) nodes.push(drawDot(dot, x, y, on.has(dot.row.k), pins.includes(dot.row.k)));
  picture.replaceChildren(...nodes);
}

function drawDot(dot, x, y, isOn, isPinned) {
  const { row } = dot;
  const text = `${row.p}: ${x.t} ${Number(dot.x.toPrecision(4))}, ${y.t} ${Number(dot.y.toPrecision(4))}${dot.low == null ? '' : ` [${Number(dot.low.toPrecision(4))}, ${Number(dot.high.toPrecision(4))}]`}${isOn ? ', on the frontier' : ''}`;
  const link = svg('a', { href: `#${row.k}`, class: `dot ${row.d}${isOn ? ' on' : ''}${isPinned ? ' pinned' : ''}`, 'aria-label': text }, svg('title', {}, text), mark(row.d, dot.px, dot.py));
  if (dot.label) link.append(svg('text', dot.label, row.p));
  return link;
}

/* Name and value of each line: the score of every teacher whose students are shown, of the best control, and chance. */
function levelsOf(view, y, points) {
  const teachers = new Set(points.map((point) => point.row.t).filter(Boolean));
  const levels = view.rows.filter((row) => row.o && teachers.has(row.g) && row.g === row.n)
    .map((row) => [`teacher: ${row.p}`, valueOf(view, row, y).value]);
  levels.push(['best control', bestOf(view, y, 'control')]);
  const task = taskOf(view, y);
  if (task) levels.push(['chance', chanceOf(view, task, conditionOf(view)) * y.scale]);
  return levels.filter(([, value]) => value != null);
}

/* Lines and their names; lines less than a text apart share one. */
function levelLines(levels, py, taken) {
  const lines = levels.map(([, value]) => svg('line', { class: 'teacher', x1: BOX.l, x2: BOX.r, y1: py(value), y2: py(value) }));
  const groups = [];
  for (const [text, value] of levels.sort((a, b) => py(a[1]) - py(b[1]))) {
    const last = groups.at(-1);
    if (last && py(value) - last.at < 13) last.texts.push(last.texts[0].startsWith('teacher') ? text.replace('teacher: ', '') : text);
    else groups.push({ at: py(value), texts: [text] });
  }
  const texts = groups.map(({ at, texts }) => {
    const text = texts.length > 1 && BOX.w < 640 && texts[0].startsWith('teacher') ? 'teachers' : texts.join(', ');
    const places = [];
    for (let away = 0; away < 120; away += 14) {
      for (let x = BOX.r; x - 7 * text.length >= BOX.l; x -= 24) places.push([x, at - 5 - away, 'end'], [x, at + 13 + away, 'end']);
    }
    const label = place(places, text, taken) ?? { x: BOX.r, y: at - 5, 'text-anchor': 'end' };
    return svg('text', { class: 'of-teacher', ...label }, text);
  });
  return [...lines, ...texts];
}

/* A copy that needs no style sheet: for papers, on white. */
function standalone(view) {
  const picture = plots[view.k].cloneNode(true);
  picture.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  picture.setAttribute('width', BOX.w);
  picture.setAttribute('height', BOX.h);
  const style = 'text{font:12px sans-serif;fill:#444}.grid{stroke:#e3e3e3}.dot circle,.dot rect{fill:#fff;stroke:#777;stroke-width:1.8}'
    + '.dot path{stroke:#8a5a00;stroke-width:1.8;fill:none}.dot.on circle,.dot.on rect{fill:#0f5f8c;stroke:#0f5f8c}.dot text{fill:#111;font-size:11.5px;paint-order:stroke;stroke:#fff;stroke-width:3px}'
    + '.front{fill:none;stroke:#0f5f8c;stroke-width:1.4}.curve{fill:none;stroke:#888;stroke-dasharray:2 3}.teacher{stroke:#666;stroke-dasharray:6 4}.of-teacher{paint-order:stroke;stroke:#fff;stroke-width:3px}.whisker{stroke:#999;fill:none}';
  picture.prepend(svg('style', {}, style), svg('rect', { width: BOX.w, height: BOX.h, fill: '#fff' }));
  for (const link of picture.querySelectorAll('a')) link.removeAttribute('href');
  return new XMLSerializer().serializeToString(picture);
}

function saveSvg(view) {
  download(`slim-superb-${view.k}.svg`, 'image/svg+xml', standalone(view));
}

function savePng(view) {
  const image = new Image();
  image.onload = () => {
    const canvas = make('canvas', { width: 3 * BOX.w, height: 3 * BOX.h });
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => download(`slim-superb-${view.k}.png`, 'image/png', blob));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(view))}`;
}
