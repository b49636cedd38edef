// What a pointer does on a heat map: a value where it hovers, a derivation where it clicks, zoom where it drags.

const DRAGGED = 6;
const AGAIN = 250;

function pointing(map) {
  const { canvas, framed } = map;
  const rubber = make('div', { class: 'rubber' });
  rubber.hidden = true;
  framed.plot.append(rubber);
  const shareOf = (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (at, size) => Math.max(0, Math.min(1, at / size));
    return [inside(event.clientX - box.left, box.width), inside(event.clientY - box.top, box.height)];
  };
  const cellAt = ([x, y]) => {
    const [left, right, top, bottom] = map.window();
    const within = (share, from, to) => Math.min(to - 1, from + Math.floor(share * (to - from)));
    const row = within(y, top, bottom);
    return [within(x, left, right), map.order() ? map.order()[row] : row];
  };
  let began = null;
  let dragged = false;
  let waiting = null;
  const ended = () => {
    began = null;
    rubber.hidden = true;
  };
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button === 0) began = { share: shareOf(event), x: event.clientX, y: event.clientY };
    dragged = false;
  });
  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = cellAt(shareOf(event));
    tipAt(event, `${map.address(x, y)}: ${cellWritten(map.view, ...map.axes.at(x, y))}`);
    if (!began || (!dragged && Math.hypot(event.clientX - began.x, event.clientY - began.y) < DRAGGED)) return;
    if (!dragged) canvas.setPointerCapture(event.pointerId);
    dragged = true;
    stretch(rubber, began.share, shareOf(event));
  });
  canvas.addEventListener('pointerup', (event) => {
    if (began && dragged) zoomTo(map, began.share, shareOf(event));
    ended();
  });
  canvas.addEventListener('pointercancel', ended);
  canvas.addEventListener('pointerleave', () => { document.getElementById('tip').hidden = true; });
  canvas.addEventListener('click', (event) => {
    if (dragged || !map.chosen) return;
    const cell = cellAt(shareOf(event));
    window.clearTimeout(waiting);
    if (!isZoomed(map)) map.chosen(...cell);
    else if (event.detail < 2) waiting = window.setTimeout(() => map.chosen(...cell), AGAIN); // unless it is a double click
  });
  canvas.addEventListener('dblclick', () => isZoomed(map) && zoomOut(map));
  canvas.addEventListener('keydown', (event) => map.key && map.key(event));
  framed.left.addEventListener('click', (event) => {
    if (!map.unitChosen) return;
    const box = framed.left.getBoundingClientRect();
    map.unitChosen(cellAt([0, Math.max(0, Math.min(1, (event.clientY - box.top) / box.height))])[1]);
  });
}

function stretch(rubber, [x1, y1], [x2, y2]) {
  rubber.hidden = false;
  rubber.style.left = `${Math.min(x1, x2) * 100}%`;
  rubber.style.width = `${Math.abs(x2 - x1) * 100}%`;
  rubber.style.top = `${Math.min(y1, y2) * 100}%`;
  rubber.style.height = `${Math.abs(y2 - y1) * 100}%`;
}

function isZoomed(map) {
  return Boolean(map.rows || map.across || (map.upright && zoomed.steps));
}

// To what lies between two points. The steps are those of all maps; the rows those of this one.
function zoomTo(map, [x1, y1], [x2, y2]) {
  const [left, right, top, bottom] = map.window();
  const between = (from, to, one, other) => {
    const first = Math.floor(from + Math.min(one, other) * (to - from));
    return [Math.min(first, to - 1), Math.max(first + 1, Math.min(to, Math.ceil(from + Math.max(one, other) * (to - from))))];
  };
  const flat = Math.abs(y2 - y1) * map.canvas.clientHeight < 2 * DRAGGED; // along the steps alone
  if (!flat) map.rows = between(top, bottom, y1, y2);
  const [first, after] = between(left, right, x1, x2);
  if (map.upright) zoomSteps(first * map.view.per_step, after * map.view.per_step);
  else {
    map.across = [first, after];
    redraw((one) => one === map.canvas);
  }
  map.changed();
}

function zoomOut(map) {
  map.rows = null;
  map.across = null;
  if (map.upright) zoomSteps(0, data.length);
  redraw((one) => one === map.canvas);
  map.changed();
}

// Around the step that is shown: by key.
function zoomBy(map, factor) {
  const [first, after] = stepsShown();
  const half = Math.max(1, ((after - first) * factor) / 2);
  const middle = Math.max(half, Math.min(data.length - half, now.step + 0.5));
  zoomSteps(middle - half, middle + half);
  map.changed();
}

// Around a cell of a map that has no steps: by key.
function zoomCells(map, { row, column }, factor) {
  const { view, axes } = map;
  const [left, right, top, bottom] = map.window();
  const around = (cell, from, to, most) => {
    const size = Math.max(1, Math.min(most, Math.round((to - from) * factor)));
    const first = Math.max(0, Math.min(most - size, cell - Math.floor(size / 2)));
    return size === most ? null : [first, first + size];
  };
  map.across = around(Math.floor((column ?? 0) / view.per_unit), left, right, axes.wide);
  map.rows = around(Math.floor((row ?? 0) / view.per_step), top, bottom, axes.high);
  redraw((one) => one === map.canvas);
  map.changed();
}

function tipAt(event, text) {
  const tip = document.getElementById('tip');
  tip.textContent = text;
  tip.hidden = false;
  const right = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18 + tip.offsetHeight < window.innerHeight;
  tip.style.left = `${Math.max(4, right)}px`;
  tip.style.top = `${below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 10}px`;
}
