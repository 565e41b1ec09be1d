/* The controls above the table. */
function choice(label, options, onchange, name) {
  const select = make('select', { name, onchange: (event) => onchange(event.target.value) });
  for (const [key, text] of options) select.append(make('option', { value: key }, text));
  return make('label', {}, label, select);
}

const unique = (items) => [...new Set(items)].filter(Boolean).sort();

function setUpTools(view, box) {
  const changed = (key) => (text) => set({ [key]: text }, { replace: true });
  const all = (items) => [['', 'all'], ...unique(items).map((item) => [item, item])];
  const search = make('input', { type: 'search', name: 'q', oninput: (event) => changed('q')(event.target.value) });
  const limit = (label, key) => make('label', {}, label, make('input', { type: 'number', min: '0', step: 'any', name: key, oninput: (event) => changed(key)(event.target.value) }));
  box.append(make('label', {}, 'Search', search));
  const kinds = unique(view.rows.map((row) => row.d));
  if (kinds.length > 1) box.append(kindChoice(kinds));
  for (const [label, key, field] of [['Family', 'f', 'f'], ['Teacher', 't', 't'], ['Weights', 'w', 'w']]) {
    const options = all(view.rows.map((row) => row[field]));
    if (options.length > 2) box.append(choice(label, options, changed(key), key));
  }
  if (costIndex(view, 'params') >= 0) box.append(limit('Parameters at most, M', 'p'));
  if (costIndex(view, 'macs') >= 0) box.append(limit('MACs at most, G', 'm'));
  box.append(columnChoice(view));
  box.append(
    make('button', { type: 'button', name: 'copy', onclick: copyLink }, 'Copy link'),
    make('button', { type: 'button', name: 'csv', onclick: () => downloadCsv(view) }, 'CSV'),
    make('button', { type: 'button', name: 'bib', onclick: () => downloadBibtex(view) }, 'BibTeX'),
    make('button', { type: 'button', name: 'reset', onclick: () => set({ ...DEFAULTS, v: state.v }) }, 'Reset'),
    make('p', { class: 'count', role: 'status', 'aria-live': 'polite' }),
  );
  box.hidden = false;
}

function kindChoice(kinds) {
  const set_ = make('fieldset', {}, make('legend', {}, 'Show'));
  for (const kind of kinds) {
    const input = make('input', {
      type: 'checkbox', name: `kind-${kind}`,
      onchange: (event) => {
        const hidden = listOf(state.d).filter((item) => item !== kind);
        if (!event.target.checked) hidden.push(kind);
        set({ d: hidden.join('~') });
      },
    });
    set_.append(make('label', {}, input, DATA.kinds[kind]));
  }
  return set_;
}

function columnChoice(view) {
  const menu = make('div', {});
  for (const column of view.cols) {
    const input = make('input', {
      type: 'checkbox', name: `col-${column.k}`,
      onchange: (event) => {
        const hidden = listOf(state.h).filter((item) => item !== column.k);
        if (!event.target.checked) hidden.push(column.k);
        set({ h: hidden.join('~') });
      },
    });
    menu.append(make('label', {}, input, column.t));
  }
  const details = make('details', { class: 'menu' }, make('summary', {}, 'Columns'), menu);
  details.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') { details.open = false; details.firstChild.focus(); }
  });
  document.addEventListener('click', (event) => { if (details.open && !details.contains(event.target)) details.open = false; });
  return details;
}

/* Set every control to the state. */
function showTools(view) {
  const box = sectionOf(view).querySelector('.tools');
  for (const key of ['q', 'f', 't', 'w', 'p', 'm']) {
    const control = box.querySelector(`[name="${key}"]`);
    if (control && control.value !== state[key]) control.value = state[key];
  }
  const [kinds, hidden] = [listOf(state.d), listOf(state.h)];
  for (const input of box.querySelectorAll('input[type=checkbox]')) {
    const [what, ...rest] = input.name.split('-');
    input.checked = !(what === 'kind' ? kinds : hidden).includes(rest.join('-'));
  }
  const count = tables[view.k].shown.length;
  const text = `${count} of ${view.rows.length} rows`;
  const status = box.querySelector('.count');
  if (status.textContent !== text) status.textContent = text;
}
