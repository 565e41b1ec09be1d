/* Two to four rows side by side, with the paired tests of `slim-superb compare` (bench/metrics/statistics.py). */

/* ln Gamma(x), by Lanczos (Numerical Recipes, section 6.1). */
function lnGamma(x) {
  const terms = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5];
  const sum = terms.reduce((total, term, index) => total + term / (x + index + 1), 1.000000000190015);
  return -(x + 5.5) + (x + 0.5) * Math.log(x + 5.5) + Math.log((2.5066282746310005 * sum) / x);
}

/* The regularized incomplete beta function, by its continued fraction (section 6.4). */
function incompleteBeta(a, b, x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(b, a, 1 - x);
  const front = Math.exp(lnGamma(a + b) - lnGamma(a) - lnGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a;
  let [c, d] = [1, 1 / (1 - ((a + b) * x) / (a + 1))];
  let sum = d;
  for (let m = 1; m < 300; m += 1) {
    const steps = [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))];
    for (const step of steps) {
      d = 1 / (1 + step * d);
      c = 1 + step / c;
      sum *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-12) break;
  }
  return front * sum;
}

/* The two-sided p value of Student's t, and the half width of a 95 % interval in standard errors. */
const pOfT = (t, freedom) => incompleteBeta(freedom / 2, 0.5, freedom / (freedom + t * t));
function quantile(freedom) {
  let [low, high] = [0, 1e3];
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (pOfT(middle, freedom) > 0.05) low = middle; else high = middle;
  }
  return low;
}

/* Holm's step-down rule: p values that hold together. */
function holm(pValues) {
  const order_ = pValues.map((p, index) => [p, index]).sort((a, b) => a[0] - b[0]);
  const corrected = [];
  let largest = 0;
  order_.forEach(([p, index], rank) => { corrected[index] = largest = Math.max(largest, Math.min(1, (pValues.length - rank) * p)); });
  return corrected;
}

/* The paired test of two rows in a column on clean speech: difference, half width, p; null without item counts. */
function pairedTest(view, column, one, two) {
  const [first, second] = [one.z[column.k], two.z[column.k]];
  if (!column.z || !first || !second) return null;
  const [between, uncertaintyOfOne, least, step] = column.z;
  const [places, others] = [first[2], second[2]].map((text) => text.match(/../g).map(numberOf));
  const variance = places.reduce((sum, place, index) => sum + ((place - others[index]) * step) ** 2, 0);
  const factor = 1 / first[0] + 1 / second[0];
  const freedom = Math.max(Math.min(first[1], second[1]) - 1, 1);
  const total = Math.max(variance + factor * between, least * variance);
  const at = view.cols.indexOf(column);
  const difference = two.v[at] - one.v[at];
  if (!total) return { difference, half: 0, p: difference ? 0 : 1 };
  const degrees = between < 0 ? freedom
    : total ** 2 / (variance ** 2 / freedom + factor ** 2 * uncertaintyOfOne);
  const error = Math.sqrt(total) * column.scale;
  return { difference, half: quantile(degrees) * error, p: pOfT(difference / error, degrees) };
}

/* The lines of the panel: a column, and a test of every later row against the first. */
function comparisons(view, pins) {
  const lines = view.cols.filter((column) => column.n && pins.some((row) => row.v[view.cols.indexOf(column)] != null))
    .map((column) => ({ column, tests: pins.slice(1).map((row) => pairedTest(view, column, pins[0], row)) }));
  pins.slice(1).forEach((_, at) => {
    const tested = lines.map(({ tests }) => tests[at]).filter(Boolean);
    holm(tested.map((test) => test.p)).forEach((p, index) => { tested[index].p = p; });
  });
  return lines;
}

function verdict(column, test, pins, at) {
  if (!test) return column.g === 'score' ? 'not tested' : '';
  if (test.p >= 0.05) return 'not told apart';
  return `${((test.difference > 0) === column.b ? pins[at + 1] : pins[0]).p} is better`;
}

function showCompare(view) {
  const section = sectionOf(view);
  const pins = listOf(state.c).map((key) => view.rows.find((row) => row.k === key)).filter(Boolean);
  const wanted = pins.map((row) => row.k).join();
  if ((tables[view.k].compared ?? '') === wanted) return;
  tables[view.k].compared = wanted;
  section.querySelector('.compare')?.remove();
  if (pins.length < 2) return;
  toast();
  const lines = comparisons(view, pins);
  const show = (column, value) => (value == null ? '\u2013' : value.toFixed(column.g === 'cost' ? 3 : column.digits));
  const body = lines.map(({ column, tests }) => {
    const at = view.cols.indexOf(column);
    const cells = tests.flatMap((test, index) => {
      const cell = [make('td', {}, show(column, pins[index + 1].v[at]))];
      if (column.g !== 'score') return [...cell, make('td'), make('td', { class: 't' })];
      const text = verdict(column, test, pins, index);
      const p = test && (test.p < 0.001 ? 'p < 0.001' : `p = ${test.p.toFixed(3)}`);
      const value = (number) => signed(number / 100, column.digits);
      const difference = test ? [value(test.difference), make('small', {}, `${value(test.difference - test.half)} to ${value(test.difference + test.half)}`)] : ['\u2013'];
      const words = text.endsWith('better') ? make('b', {}, text) : text;
      return [...cell, make('td', {}, ...difference), make('td', { class: 't' }, words, p ? make('small', {}, p) : '')];
    });
    return make('tr', {}, make('th', { scope: 'row' }, column.t, make('small', {}, column.a)), make('td', {}, show(column, pins[0].v[at])), ...cells);
  });
  const heads = pins.slice(1).flatMap((row) => [row.p, `minus ${pins[0].p}`, 'paired test']);
  const head = make('tr', {}, ...['Column', pins[0].p, ...heads].map((text, index) => make('th', { scope: 'col', class: index && !text.startsWith('paired') ? null : 't' }, text)));
  const table = make('table', {}, make('thead', {}, head), make('tbody', {}, ...body));
  const won = lines.flatMap(({ column, tests }) => tests.map((test, at) => [column.t, verdict(column, test, pins, at), pins[test && (test.difference > 0) === column.b ? 0 : at + 1].p])).filter(([, text]) => text.endsWith('better'));
  const summary = won.length ? won.map(([title, text, other]) => `${title}: ${text} than ${other}`).join('. ') : 'No column tells these rows apart';
  const legend = `${summary}. ${won.length ? 'Everything else is not told apart. ' : ''}Scores on clean speech; p values are corrected by Holm\'s rule over the columns of each pair. Also under conditions, in a terminal: `;
  const command = make('code', {}, `slim-superb compare ${pins.map((row) => `'${row.n}'`).join(' ')} --track ${view.k}`);
  const close = make('button', { type: 'button', name: 'unpin', onclick: () => set({ c: '' }) }, 'Close');
  const scroll = make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Differences' }, table);
  section.append(make('section', { class: 'compare', 'aria-label': 'Comparison' }, close, make('h3', {}, `${pins[0].p} and ${pins.slice(1).map((row) => row.p).join(', ')}`), make('p', { class: 'legend' }, legend, command), scroll));
}
