/* Downloads of the rows that are shown. */
function csvText(text) {
  const flat = text.replace(/\s+/g, ' ').trim();
  const safe = /^[=+\-@]/.test(flat) && Number.isNaN(Number(flat)) ? `'${flat}` : flat;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function downloadCsv(view) {
  const hidden = listOf(state.h);
  const columns = view.cols.map((column, index) => [column, index]).filter(([column]) => !hidden.includes(column.k));
  const head = ['upstream', 'kind'];
  for (const [column] of columns) head.push(...(column.g === 'score' ? [column.k, `${column.k} low`, `${column.k} high`] : [column.k]));
  const lines = [head];
  for (const row of tables[view.k].shown) {
    const line = [row.n, row.d];
    for (const [column, index] of columns) {
      const node = tables[view.k].rows[row.k].node.cells[index + 1];
      const interval = node.querySelector('small')?.textContent.match(/^([\d.]+) to ([\d.]+)$/) || ['', '', ''];
      if (column.g === 'score') line.push(row.v[index] ?? '', interval[1], interval[2]);
      else line.push(column.n ? row.v[index] ?? '' : node.textContent);
    }
    lines.push(line);
  }
  download(`slim-superb-${view.k}.csv`, 'text/csv', lines.map((line) => line.map((item) => csvText(String(item))).join(',')).join('\n') + '\n');
}

function downloadBibtex(view) {
  const bib = (row) => document.getElementById(row.k)?.querySelector('.bib')?.textContent;
  const byCard = Object.fromEntries(view.rows.filter(bib).map((row) => [row.g, bib(row)]));
  const entries = tables[view.k].shown.map((row) => bib(row) || byCard[row.g]).filter(Boolean);
  if (!entries.length) { toast('None of the rows shown names a paper.'); return; }
  download(`slim-superb-${view.k}.bib`, 'application/x-bibtex', [...new Set(entries)].join('\n\n') + '\n');
}

async function copyLink() {
  writeHash(true);
  try {
    await navigator.clipboard.writeText(location.href);
    toast('Link copied.');
  } catch {
    const field = make('input', { readonly: true, value: location.href, 'aria-label': 'Link to this view' });
    toast(field);
    field.select();
  }
}
