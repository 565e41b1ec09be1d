/* What a number is: everything that the page knows of one cell, in a dialog. */
function showNumber(view, cell) {
  const column = view.cols[cell.cellIndex - 1];
  const row = view.rows.find((item) => item.k === cell.parentNode.id.slice(2));
  const condition = column.g === 'score' || column.k === 'mean' ? conditionOf(view) : 0;
  const list = make('dl');
  const add = (label, ...content) => { if (content.some(Boolean)) list.append(make('dt', {}, label), make('dd', {}, ...content)); };
  const { value, low, high } = valueOf(view, row, column);
  const shown = (number) => number.toFixed(column.g === 'cost' ? 3 : column.digits);
  add('Value', value == null ? cell.textContent : `${shown(value)} (${column.a})`);
  if (low != null) add('95 % interval', `${shown(low)} to ${shown(high)}, over other speakers and head seeds`);
  if (condition) add('Condition', `${view.conds[condition][0]}: ${view.conds[condition][2]}`);
  const loss = condition ? lossOf(view, row, taskOf(view, column), condition) : null;
  if (loss != null) add('Degradation', `${(100 * loss).toFixed(1)} % of its lead over chance on clean speech is lost`);
  const [best, worst, of] = row.b[column.k] ?? [];
  if (best && !condition) add('Rank', `${best === worst ? best : `${best} to ${worst}`} of ${of}`);
  if (column.g === 'score') for (const line of tables[view.k].table.tHead.querySelectorAll('tr.ref')) add(line.cells[0].textContent, line.cells[cell.cellIndex].textContent);
  const section = document.getElementById(row.k);
  const fact = (label) => [...section.querySelectorAll('dt')].find((term) => term.textContent === label)?.nextElementSibling;
  if (column.g === 'cost') add('Costs', fact('Costs')?.textContent);
  if (column.task) addTask(view, section, column.task, add, fact('Command')?.textContent, condition && view.conds[condition][0]);
  add('Provenance', fact('Provenance')?.textContent);
  const dialog = document.getElementById('number');
  const close = make('button', { type: 'button', name: 'close', onclick: () => dialog.close() }, 'Close');
  const link = make('p', {}, make('a', { href: `#${row.k}`, onclick: () => dialog.close() }, `Everything about ${row.n}`));
  dialog.replaceChildren(close, make('h2', { id: 'number-h' }, `${column.t} of ${row.n}`), list, link);
  dialog.showModal();
}

/* Counts, seeds, recipe, layer weights and learning rates of a task, from the sections of the row and of the task. */
function addTask(view, section, task, add, command, condition) {
  drawBars(section);
  const line = [...section.querySelectorAll('.tasks tbody tr')].find((node) => node.cells[0].textContent === task.toUpperCase());
  if (line) {
    add('Counted', line.cells[1].textContent);
    const copy = (index) => [...line.cells[index].childNodes].map((node) => node.cloneNode(true));
    add('Learning rates on dev', ...copy(2));
    add('Layer weights, %', ...copy(3));
    add('Head: parameters, update, seeds', line.cells[4].textContent);
    const curves = [...section.querySelectorAll(`[id^="${section.id}-${task}-curve"]`)].map((node) => { const copy = node.cloneNode(true); copy.removeAttribute('id'); return copy; });
    if (curves.length) add('Learning curve', ...curves);
    else if (command) add('Learning curve', 'records keep the best update of each learning rate; the command below writes the whole curve, and ', make('code', {}, 'slim-superb board --runs runs'), ' draws it');
  }
  for (const term of document.querySelectorAll(`#${view.k}-task-${task} dt`)) add(term.textContent, term.nextElementSibling.textContent);
  if (!command) return;
  add('Command', make('code', {}, command.replace('TASK', task) + (condition ? ` --conditions ${condition}` : '')));
  const own = document.querySelector(`[id^="${section.id}-${task}-s"]`);
  if (own) add('Predictions', make('a', { href: `#${own.id}`, onclick: () => document.getElementById('number').close() }, 'each utterance, worst first'));
  else {
    add('Utterances', condition ? '' : utteranceTable(view, view.rows.find((row) => row.k === section.id), task));
    add('Predictions', 'shipped rows keep counts, not texts; the command writes a prediction for each utterance and ', make('code', {}, 'slim-superb board --runs runs'), ' shows them with their sound');
  }
}

const MAX_UTTERANCES = 60;

/* Which utterances of the clean test set a row gets right, those first that it misses and others do not. */
function utteranceTable(view, row, task) {
  const packed = row.h?.[task];
  if (!packed) return '';
  const [prefix, rest, labels, places] = view.utts[task];
  const names = rest.split(' ');
  const unpack = (text) => [...text].flatMap((letter) => [numberOf(letter) >> 4, (numberOf(letter) >> 2) & 3, numberOf(letter) & 3]);
  const right = unpack(packed);
  const others = view.rows.filter((other) => other !== row && other.o && other.h?.[task]).map((other) => unpack(other.h[task]));
  const shareOf = (at) => others.reduce((sum, levels) => sum + levels[at], 0) / (3 * others.length || 1);
  const lines = names.map((name, at) => ({ name: prefix + name, label: places ? labels[numberOf(places[at])] : '', right: right[at], others: shareOf(at) }));
  lines.sort((one, two) => one.right - two.right || two.others - one.others);
  const percent = (share) => (100 * share).toFixed(0);
  const head = make('tr', {}, ...['Utterance', ...(places ? ['Label'] : []), 'Right, %', 'Other models, %'].map((text) => make('th', { scope: 'col' }, text)));
  const body = lines.slice(0, MAX_UTTERANCES).map((line) => make('tr', {}, make('th', { scope: 'row' }, line.name), ...(places ? [make('td', {}, line.label)] : []), make('td', {}, percent(line.right / 3)), make('td', {}, percent(line.others))));
  const count = (level) => right.slice(0, names.length).filter((value) => value === level).length;
  const title = `${names.length}: wholly right ${count(3)}, in part ${count(1) + count(2)}, not at all ${count(0)}; show ${Math.min(MAX_UTTERANCES, names.length)}`;
  return make('details', {}, make('summary', {}, title), make('p', { class: 'legend' }, 'A mean over head seeds, in thirds. First those that this model misses and other models get right.'), make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Utterances' }, make('table', {}, make('thead', {}, head), make('tbody', {}, ...body))));
}

document.getElementById('number').addEventListener('click', (event) => { if (event.target.id === 'number') event.target.close(); });
