/* The controls above the table. */
function choice(label, options, onchange, name) {
  const select = make('select', { name, onchange: (event) => onchange(event.target.value) });
  fillOptions(select, options);
  return make('label', {}, label, select);
}

/* Options are [key, text], or [key, text, group]. */
function fillOptions(select, options) {
  let group = null;
  for (const [key, text, title] of options) {
    if (title && group?.label !== title) select.append(group = make('optgroup', { label: title }));
    (title ? group : select).append(make('option', { value: key }, text));
  }
}

const unique = (items) => [...new Set(items)].filter(Boolean).sort();

function setUpTools(view, box) {
  const changed = (key) => (text) => set({ [key]: text }, { replace: true });
  const all = (items) => [['', 'all'], ...unique(items).map((item) => [item, item])];
  const search = make('input', { type: 'search', name: 'q', oninput: (event) => changed('q')(event.target.value) });
  const limit = (label, key) => make('label', {}, label, make('input', { type: 'number', min: '0', step: 'any', name: key, oninput: (event) => changed(key)(event.target.value) }));
  const field = (label, key) => {
    const options = all(view.rows.map((row) => row[key]));
    return options.length > 2 ? [choice(label, options, changed(key), key)] : [];
  };
  const open = (event) => event.target.setAttribute('aria-expanded', String(box.classList.toggle('open')));
  box.append(make('label', { class: 'always' }, 'Search', search), make('button', { type: 'button', class: 'always options', name: 'options', 'aria-expanded': 'false', onclick: open }, 'Options'));
  if (view.conds.length > 1) {
    const options = view.conds.map(([name, group], index) => [index ? name : '', index ? name : 'clean speech', group]);
    box.append(choice('Condition', options, (name) => set({ n: name }), 'n'));
  }
  if (costIndex(view, 'params') >= 0) box.append(limit('Parameters at most, M', 'p'));
  box.append(...field('Family', 'f'));
  const sorts = view.cols.filter((column) => column.n).map((column) => [`${column.b ? '-' : ''}${column.k}`, column.t]);
  const sort = choice('Sort by', [['', 'best first'], ...sorts], (key) => set({ s: key }), 's');
  sort.className = 'sort';
  box.append(sort);
  const more = [...field('Teacher', 't'), ...field('Weights', 'w')];
  if (costIndex(view, 'macs') >= 0) more.push(limit('MACs at most, G', 'm'));
  const kinds = unique(view.rows.map((row) => row.d));
  if (kinds.length > 1) more.unshift(checks('kind', kinds.map((kind) => [kind, DATA.kinds[kind]]), 'd'));
  box.append(
    menu('Filters', ...more),
    menu('Columns', checks('col', view.cols.map((column) => [column.k, column.t]), 'h')),
    make('button', { type: 'button', name: 'copy', onclick: copyLink }, 'Copy link'),
    make('button', { type: 'button', name: 'csv', onclick: () => downloadCsv(view) }, 'CSV'),
    make('button', { type: 'button', name: 'bib', onclick: () => downloadBibtex(view) }, 'BibTeX'),
    make('button', { type: 'button', name: 'reset', onclick: () => set({ ...DEFAULTS, v: state.v }) }, 'Reset'),
    make('p', { class: 'count always', role: 'status', 'aria-live': 'polite' }),
  );
  box.hidden = false;
}

/* Checkboxes, each of which puts its key into a list of the address, or takes it out. */
function checks(name, options, key) {
  const change = (item) => () => {
    const rest = listOf(state[key]).filter((other) => other !== item);
    set({ [key]: (rest.length === listOf(state[key]).length ? [...rest, item] : rest).join('~') });
  };
  return make('div', { class: 'checks' }, ...options.map(([item, text]) => make('label', {}, make('input', { type: 'checkbox', name: `${name}-${item}`, onchange: change(item) }), text)));
}

function menu(title, ...content) {
  const details = make('details', { class: 'menu' }, make('summary', {}, title), make('div', {}, ...content));
  details.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { details.open = false; details.firstChild.focus(); }
  });
  document.addEventListener('click', (event) => { if (details.open && !details.contains(event.target)) details.open = false; });
  return details;
}

/* Set every control to the state. */
function showTools(view) {
  const box = sectionOf(view).querySelector('.tools');
  for (const key of ['q', 'f', 't', 'w', 'p', 'm', 'n', 's']) {
    const control = box.querySelector(`[name="${key}"]`);
    if (control && control.value !== state[key]) control.value = state[key];
  }
  for (const input of box.querySelectorAll('input[type=checkbox]')) {
    const [what, ...rest] = input.name.split('-');
    const key = rest.join('-');
    input.checked = what === 'kind' ? !listOf(state.d).includes(key) : Boolean(view.cols.find((column) => column.k === key).f) !== listOf(state.h).includes(key);
  }
  const text = `${tables[view.k].shown.length} of ${view.rows.length} rows`;
  const status = box.querySelector('.count');
  if (status.textContent !== text) status.textContent = text;
}
