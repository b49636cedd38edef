// The step and the unit that everything on the page shows, and who wants to know when they move.

const now = { step: 0, unit: 0 };
const watchers = [];

function watch(watcher) {
  watchers.push(watcher);
  watcher();
}

function move(step, unit) {
  const before = { ...now };
  const widest = Math.max(data.spec.hidden_size, data.spec.proj_size);
  if (step !== null) now.step = Math.max(0, Math.min(data.length - 1, Math.round(step) || 0));
  if (unit !== null) now.unit = Math.max(0, Math.min(widest - 1, Math.round(unit) || 0));
  if (before.step !== now.step || before.unit !== now.unit) watchers.forEach((watcher) => watcher());
}

function say(text) {
  document.getElementById('said').textContent = text;
}

function placeOf(layer) {
  return `layer ${layer.layer} ${layer.direction}`;
}

// The first address that differs, where it is of the batch item that is shown.
function firstOf(layer) {
  const { first } = layer.run.verdict;
  const here = first && first.layer === layer.layer && first.direction === layer.direction;
  return here && first.batch === data.item && first.step !== null ? first : null;
}
