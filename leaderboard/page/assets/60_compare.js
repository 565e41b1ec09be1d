/* Two to four rows side by side. */
function showCompare(view) {
  const section = sectionOf(view);
  section.querySelector('.compare')?.remove();
  const pins = listOf(state.c).map((key) => view.rows.find((row) => row.k === key)).filter(Boolean);
  if (pins.length < 2) return;
  const nodes = pins.map((row) => tables[view.k].rows[row.k].node);
  const body = make('tbody', {});
  view.cols.forEach((column, index) => {
    const cells = nodes.map((node) => node.cells[index + 1]);
    if (cells.every((cell) => cell.textContent === '\u2013')) return;
    const values = pins.map((row) => row.v[index]);
    const numbers = values.filter((item) => item != null);
    const best = column.b == null || numbers.length < 2 ? null : column.b ? Math.max(...numbers) : Math.min(...numbers);
    const line = make('tr', {}, make('th', { scope: 'row' }, column.t, make('small', {}, column.a)));
    cells.forEach((cell, at) => {
      const copy = make('td', { class: column.n ? null : 't' });
      copy.append(...[...cell.childNodes].map((node) => node.cloneNode(true)));
      if (best != null && values[at] === best) { copy.replaceChildren(make('b', {}, ...copy.childNodes)); }
      if (at && column.n && values[at] != null && values[0] != null) {
        const gap = values[at] - values[0];
        copy.append(make('small', {}, `${gap < 0 ? '\u2212' : '+'}${Number(Math.abs(gap).toPrecision(3))} to the first`));
      }
      line.append(copy);
    });
    body.append(line);
  });
  const head = make('tr', {}, make('th', { scope: 'col', class: 't' }, 'Column'), ...pins.map((row) => make('th', { scope: 'col' }, row.n)));
  const table = make('table', {}, make('caption', {}, `${pins.length} rows side by side`), make('thead', {}, head), body);
  const close = make('button', { type: 'button', name: 'unpin', onclick: () => set({ c: '' }) }, 'Unpin all');
  const hint = make('p', { class: 'legend' }, `For a paired difference with its interval: slim-superb compare '${pins[0].n}' '${pins[1].n}' --track ${view.k}`);
  const scroll = make('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'Comparison' }, table);
  const panel = make('section', { class: 'compare', 'aria-label': 'Comparison' }, make('h3', {}, 'Comparison'), scroll, hint, close);
  section.querySelector('.tools').after(panel);
}
