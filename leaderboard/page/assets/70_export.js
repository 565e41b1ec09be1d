/* Downloads of the rows that are shown. */
function csvText(text) {
  const flat = text.replace(/\s+/g, ' ').trim();
  const safe = /^[=+\-@]/.test(flat) && Number.isNaN(Number(flat)) ? `'${flat}` : flat;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function downloadCsv(view) {
  const columns = view.cols.filter((column) => isShown(view, column));
  const head = ['track', 'condition', 'model', 'kind', 'role'];
  for (const column of columns) head.push(...(column.b != null && column.g !== 'cost' ? [column.k, `${column.k}.low`, `${column.k}.high`] : [column.k]));
  const lines = tables[view.k].shown.map((row) => {
    const line = [view.k, view.conds[conditionOf(view)]?.[0] ?? 'clean', row.n, row.d, row.r ?? ''];
    for (const column of columns) {
      const { value, low, high } = valueOf(view, row, column);
      const cell = tables[view.k].rows[row.k].node.cells[view.cols.indexOf(column) + 1];
      const text = [...cell.childNodes].find((node) => node.nodeType === Node.TEXT_NODE)?.textContent.trim() ?? '';
      if (!column.n) line.push(text === '\u2013' ? '' : text);
      else line.push(...(column.b != null && column.g !== 'cost' ? [value, low, high] : [value]).map((number) => (number == null ? '' : Number(number.toPrecision(6)))));
    }
    return line;
  });
  const text = [head, ...lines].map((line) => line.map((item) => csvText(String(item))).join(',')).join('\n');
  download(`slim-superb-${view.k}.csv`, 'text/csv', `${text}\n`);
}

function downloadBibtex(view) {
  const bib = (row) => document.getElementById(row.k)?.querySelector('.bib')?.textContent;
  const byCard = Object.fromEntries(view.rows.filter(bib).map((row) => [row.g, bib(row)]));
  const board = [...document.querySelectorAll('#cite .bib')].map((node) => node.textContent);
  const entries = [...board, ...tables[view.k].shown.map((row) => bib(row) || byCard[row.g]).filter(Boolean)];
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
