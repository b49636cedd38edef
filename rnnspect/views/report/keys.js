// Keys that work wherever nothing else wants them: space plays, arrows step, / searches. And what paper needs.

document.addEventListener('keydown', (event) => {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (target.closest('input, select, textarea, button, summary, dialog, [role=button], .map, .drawing')) return;
  if (event.key === ' ') play();
  else if (event.key === '/') document.getElementById('search').focus();
  else if (event.key === 'ArrowLeft') move(now.step - 1, null);
  else if (event.key === 'ArrowRight') move(now.step + 1, null);
  else return;
  event.preventDefault();
  if (event.key.startsWith('Arrow')) say(`step ${now.step}`);
});

// Drawings that never came into sight are drawn for paper, all of them in light colours.
function forPaper(on) {
  onPaper.on = on;
  redraw();
  if (on) everyDrawing.forEach(drawNow);
}

window.addEventListener('beforeprint', () => forPaper(true));
window.addEventListener('afterprint', () => forPaper(false));
