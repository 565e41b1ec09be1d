function show() {
  for (const link of document.querySelectorAll('nav a[data-view]')) {
    if (link.dataset.view === state.v) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  for (const view of DATA.views) sectionOf(view).hidden = view.k !== state.v;
  const view = VIEWS[state.v];
  if (!view || !tables[view.k]) return;
  showTable(view);
  showTools(view);
  showCompare(view);
  showPlot(view);
  showCurves(view);
  showSections(view);
}

function visit() {
  state = readHash();
  show();
  const target = location.hash.slice(1);
  if (target && !target.includes('=') && !VIEWS[target]) openSection(target);
}

for (const view of DATA.views) {
  setUpTable(view);
  setUpPlot(view);
  setUpCurves(view);
  setUpSections(view);
}
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link) return;
  const key = link.getAttribute('href').slice(1);
  if (VIEWS[key] && link.matches('.skip')) {
    /* Go to the shown view without changing the address, which holds filters, order and pins. */
    event.preventDefault();
    sectionOf(VIEWS[state.v]).focus();
  } else if (VIEWS[key] && link.dataset.view) {
    event.preventDefault();
    set({ ...DEFAULTS, v: key });
  } else if (document.getElementById(key)?.matches('details')) {
    event.preventDefault();
    openSection(key);
  }
});
document.addEventListener('toggle', remember, true);
/* Browsers do not scroll to a focused head that is partly under the fixed first column. */
document.addEventListener('focusin', ({ target }) => {
  const box = target.closest('.scroll');
  const first = box?.querySelector('thead th');
  if (!first || box === target || target.closest('th:first-child')) return;
  const covered = first.getBoundingClientRect().right - target.getBoundingClientRect().left;
  if (covered > 0) box.scrollLeft -= covered + 8;
});
addEventListener('popstate', visit);
addEventListener('hashchange', () => { if (location.hash.includes('=') || !location.hash) visit(); });
visit();
