/* Sections of upstreams and tasks; the address holds the open ones. */
const sections = {};

function setUpSections(view) {
  sections[view.k] = [...sectionOf(view).querySelectorAll('section > details[id]')];
}

function drawSection(details) {
  if (!details.matches('.up')) return;
  drawBars(details);
  drawConditions(details);
}

/* Open and close sections as the state says; the browser then calls `remember`. */
function showSections(view) {
  const open = listOf(state.o);
  for (const details of sections[view.k]) details.open = open.includes(details.id);
}

/* Store in the address which sections are open. An address of just this section stays as it is. */
function remember({ target }) {
  if (target.open) drawSection(target);
  const shown = sections[state.v];
  if (!shown?.includes(target)) return;
  state.o = shown.filter((details) => details.open).map((details) => details.id).join('~');
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
