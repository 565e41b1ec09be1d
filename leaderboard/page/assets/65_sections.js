/* Sections of upstreams and tasks: which are open is part of the address, too. */
const sections = {};
let printed = [];

function setUpSections(view) {
  sections[view.k] = [...sectionOf(view).querySelectorAll('section > details[id]')];
}

function drawSection(details) {
  if (!details.matches('.up')) return;
  drawBars(details);
  drawConditions(details);
}

/* Shut or fold out what the state says; the browser tells `remember` afterwards. */
function showSections(view) {
  const open = listOf(state.o);
  for (const details of sections[view.k]) details.open = open.includes(details.id);
}

/* What the reader opened or shut. An address that names just this section stays as it is. */
function remember({ target }) {
  if (target.open) drawSection(target);
  const found = sections[state.v];
  if (printed.length || !found?.includes(target)) return;
  state.o = found.filter((details) => details.open).map((details) => details.id).join('~');
  if (location.hash.slice(1) !== state.o) writeHash(true);
}

function openSection(key) {
  const details = document.getElementById(key);
  if (!details) return;
  details.open = true;
  drawSection(details);
  details.scrollIntoView({ block: 'start' });
  details.querySelector('summary').focus({ preventScroll: true });
}

/* Paper has nothing to open: all sections are, and those that were not are closed again after. */
function unfold() {
  printed.push(...document.querySelectorAll('main details:not(.menu):not([open])'));
  for (const details of printed) {
    details.open = true;
    drawSection(details);
  }
}

function fold() {
  for (const details of printed) details.open = false;
  printed = [];
}
