/* Scores under conditions, as leaderboard/page/data.py packs them: `*` without one, `_` without an interval. */
const PACKED = /\*|.{3}_.|.{8}/g;
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const numberOf = (text) => [...text].reduce((sum, letter) => 64 * sum + DIGITS.indexOf(letter), 0);

/* {value, low, high, shade, best, lossy} of a row in a task ("mean" is one) and a condition by number; null without. */
function scoreAt(row, task, condition) {
  if (typeof row.s[task] === 'string') row.s[task] = row.s[task].match(PACKED);
  const part = row.s[task]?.[condition] ?? '*';
  if (part === '*') return null;
  const value = (numberOf(part.slice(0, 3)) - 65536) * 0.0001;
  const flags = numberOf(part.at(-1));
  const known = part.length === 8;
  return {
    value,
    low: known ? value - numberOf(part.slice(3, 5)) * 0.0002 : null,
    high: known ? value + numberOf(part.slice(5, 7)) * 0.0002 : null,
    shade: flags & 7, best: (flags & 16) > 0, lossy: (flags & 32) > 0,
  };
}

/* The number of the condition that the address names; 0 is clean speech. */
const conditionOf = (view) => Math.max(0, view.conds.findIndex(([name]) => name === state.n));

/* The task of a column that has scores under conditions; empty for others. */
function taskOf(view, column) {
  if (column.k === 'mean') return 'mean';
  return Object.keys(view.tasks).find((task) => view.cols[view.tasks[task].c] === column) ?? '';
}

const chanceOf = (view, task, condition) => (task === 'mean' ? 0 : view.tasks[task].chance[condition]);

/* The value of a row in a column under the chosen condition, in the unit of the column, with its interval. */
function valueOf(view, row, column) {
  const condition = conditionOf(view);
  const task = taskOf(view, column);
  if (!condition || column.g === 'cost' || column.g === 'upstream') {
    const [low, high] = row.e[column.k] ?? [null, null];
    return { value: row.v[view.cols.indexOf(column)], low, high };
  }
  const score = task ? scoreAt(row, task, condition) : null;
  const scaled = (value) => (value == null ? null : value * column.scale);
  return { value: scaled(score?.value), low: scaled(score?.low), high: scaled(score?.high) };
}

/* The tasks of the mean that were measured in a condition. */
const meanTasks = (view, condition) => ((view.parts ??= [])[condition] ??= view.inf.filter((task) => view.rows.some((row) => scoreAt(row, task, condition))));

/* The clean score that a score under a condition is held against, of the mean over the same tasks; null without. */
function cleanOf(view, row, task, condition) {
  if (task !== 'mean') return scoreAt(row, task, 0)?.value ?? null;
  const leads = meanTasks(view, condition).map((name) => {
    const [score, chance, best] = [scoreAt(row, name, 0), chanceOf(view, name, 0), Number(view.cols[view.tasks[name].c].b)];
    return score ? (score.value - chance) / (best - chance) : NaN;
  });
  const mean = leads.reduce((sum, lead) => sum + lead, 0) / leads.length;
  return Number.isNaN(mean) ? null : mean;
}

/* The share of its lead over chance that a row loses in a condition; null for a row that has no lead. */
function lossOf(view, row, task, condition) {
  const [score, clean] = [scoreAt(row, task, condition), cleanOf(view, row, task, condition)];
  if (!condition || !score?.lossy || clean == null) return null;
  return 1 - (score.value - chanceOf(view, task, condition)) / (clean - chanceOf(view, task, 0));
}

/* An interval as the path of a small picture, as leaderboard/page/cells.py draws it. */
function barPath(score, [low, high], chance) {
  if (score.low == null || high <= low) return '';
  const x = (value) => (60 * Math.min(Math.max((value - low) / (high - low), 0), 1)).toFixed(1);
  const line = chance != null && low <= chance && chance <= high ? `M${x(chance)} 0v8` : '';
  return `M${x(score.low)} 4H${x(score.high)}M${x(score.value)} 1v6${line}`;
}

const intervalBar = (path) => svg('svg', { class: 'iv', viewBox: '0 0 60 8', preserveAspectRatio: 'none' }, svg('path', { d: path }));

/* The intervals of columns that are shown on request: the page leaves them out, for its size. */
function drawHiddenBars(view, rows) {
  view.cols.forEach((column, at) => {
    const ends = view.rows.flatMap((row) => row.e[column.k] ?? []);
    if (column.f || !ends.length) return;
    for (const row of view.rows) {
      const [low, high] = row.e[column.k] ?? [null, null];
      const path = barPath({ value: row.v[at], low, high }, range(ends), column.ch);
      if (path) rows[row.k].node.cells[at + 1].append(intervalBar(path));
    }
  });
}

/* Write the scores of a condition into the cells of one task; the nodes of clean speech are kept. */
function paintTask(view, task, condition) {
  const { rows, heads, table } = tables[view.k];
  const index = task === 'mean' ? view.cols.findIndex((column) => column.k === 'mean') : view.tasks[task].c;
  const column = view.cols[index];
  const scores = new Map(view.rows.map((row) => [row.k, scoreAt(row, task, condition)]));
  const ends = [...scores.values()].filter((score) => score?.low != null).flatMap((score) => [score.low, score.high]);
  const axis = ends.length ? range(ends) : [0, 0];
  const told = task === 'mean' ? '1' : view.tasks[task].told[condition];
  const chance = chanceOf(view, task, condition);
  for (const row of view.rows) {
    const cell = rows[row.k].node.cells[index + 1];
    cell.clean ??= { nodes: [...cell.childNodes], name: cell.className };
    if (!condition) { cell.replaceChildren(...cell.clean.nodes); cell.className = cell.clean.name; continue; }
    const score = scores.get(row.k);
    cell.className = `${column.base} ${told === '0' ? 'g' : ''} ${score?.shade ? `q${score.shade}` : ''}`;
    if (!score) { cell.replaceChildren('\u2013'); continue; }
    const loss = lossOf(view, row, task, condition);
    const text = (score.value * column.scale).toFixed(column.digits);
    const path = barPath(score, axis, task === 'mean' ? null : chance);
    cell.replaceChildren(...[
      loss == null ? '' : make('small', {}, `\u2212${(100 * loss).toFixed(0)} %`.replace('\u2212-', '+')),
      score.best ? make('b', {}, text) : text,
      path ? intervalBar(path) : '',
    ].filter(Boolean));
  }
  const none = heads[index + 1].querySelector('.none') ?? make('small', { class: 'none' });
  const over = task === 'mean' && condition ? meanTasks(view, condition) : view.inf;
  none.textContent = over.length < view.inf.length ? `of ${over.join(', ').toUpperCase() || 'no task'}` : ({ 0: 'tells no rows apart', '-': condition ? 'no tests' : '' }[told] ?? '');
  if (!none.parentNode) heads[index + 1].firstChild.append(none);
  paintReferences(view, table, task, index, condition, scores);
}

/* The best score of the controls, in the unit of the column; null without. */
function bestOf(view, column) {
  const values = view.rows.filter((row) => row.d === 'control')
    .map((row) => valueOf(view, row, column).value).filter((value) => value != null);
  return values.length ? (column.b ? Math.max(...values) : Math.min(...values)) : null;
}

/* Chance and best control of a condition, above the rows. */
function paintReferences(view, table, task, index, condition, scores) {
  const column = view.cols[index];
  for (const line of table.tHead.querySelectorAll('tr.ref')) {
    const cell = line.cells[index + 1];
    cell.clean ??= { text: cell.textContent };
    const kind = line.dataset.r;
    const value = kind === 'chance' ? ([...scores.values()].some(Boolean) ? chanceOf(view, task, condition) * column.scale : null) : kind === 'resolution' || task === 'mean' ? null : bestOf(view, column);
    cell.textContent = !condition ? cell.clean.text : value == null ? '' : value.toFixed(column.digits);
  }
}

function showCondition(view) {
  const main = tables[view.k];
  const condition = conditionOf(view);
  if ((main.condition ?? 0) === condition) return;
  main.condition = condition;
  const tasks = [...Object.keys(view.tasks), ...(view.cols.some((column) => column.k === 'mean') ? ['mean'] : [])];
  for (const task of tasks) paintTask(view, task, condition);
  for (const row of view.rows) main.rows[row.k].node.classList.toggle('absent', condition > 0 && tasks.every((task) => !scoreAt(row, task, condition)));
  main.table.querySelector('caption span').textContent = condition ? `${state.n}: ${view.conds[condition][2].replace(/\.$/, '')}; change of the lead over chance beside each score` : 'clean speech';
}
