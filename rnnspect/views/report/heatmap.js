// A heat map on a canvas, with no more cells than the screen has dots. Where several numbers share a dot, it has the
// colour of the one that is farthest from the middle of the scale.

// `upright` views have steps along x and units down; others, such as weights, have rows down and columns along x.
function axesOf(view, upright) {
  const { rows, columns } = view;
  return upright
    ? { wide: rows, high: columns, at: (x, y) => [x, y] }
    : { wide: columns, high: rows, at: (x, y) => [y, x] };
}

// Views that are to be compared have one scale.
function* spanOfAll(several) {
  const spans = [];
  for (const view of several) spans.push(yield* rangeOf(view));
  const [low, high, faintest] = [0, 1, 2].map((at) => spans.map((one) => one[at]));
  return [Math.min(...low), Math.max(...high), Math.min(...faintest)];
}

// The dots of a map, `wide` × `high`, as an image, bit by bit: `window` says which cells, `order` which of them stands in which row.
function* imageOf({ view, axes, shown, scale }, [left, right, top, bottom], order, wide, high) {
  const values = new Float64Array(wide * high).fill(NaN);
  const odd = new Uint8Array(wide * high);
  const middle = scale.middle ?? 0;
  for (let x = left; x < right; x += 1) {
    if (pauses(x - left, bottom - top)) yield;
    const column = Math.floor(((x - left) * wide) / (right - left));
    for (let y = top; y < bottom; y += 1) {
      const dot = Math.floor(((y - top) * high) / (bottom - top)) * wide + column;
      const [i, j] = axes.at(x, order ? order[y] : y);
      const flags = view.flags(i, j);
      if (flags & ~EMPTY) odd[dot] = 1;
      if (flags & EMPTY) continue;
      const [least, most] = [view.low(i, j), view.high(i, j)];
      const value = Math.abs(least - middle) > Math.abs(most - middle) ? least : most;
      if (!(Math.abs(values[dot] - middle) > Math.abs(value - middle))) values[dot] = value;
    }
  }
  const image = new ImageData(wide, high);
  for (let dot = 0; dot < values.length; dot += 1) {
    if (pauses(dot, 1)) yield;
    if (Number.isNaN(values[dot]) && !odd[dot]) continue;
    const infinite = shown === 'ratio' && odd[dot];
    image.data.set(infinite ? beyond[theme()] : colourOf(scale, values[dot], odd[dot]), dot * 4);
    image.data[dot * 4 + 3] = 255;
  }
  return image;
}

function legend(place, scale, span, { empty, lacks }) {
  const strip = make('canvas', { width: 256, height: 1, class: 'strip', 'aria-hidden': 'true' });
  const image = new ImageData(256, 1);
  tableOf(scale.name).forEach((colour, at) => image.data.set([...colour, 255], at * 4));
  strip.getContext('2d').putImageData(image, 0, 0);
  const middle = scale.middle === undefined ? null : make('span', { class: 'middle' }, written(scale.middle, 3));
  const parts = [make('span', {}, written(scale.low, 3)), make('span', { class: 'scale' }, strip, middle),
    make('span', {}, written(scale.high, 3))];
  if (scale.bent) parts.push(make('span', {}, bentWritten(scale)));
  if (scale.limit !== undefined) {
    const above = span[1] > scale.limit;
    parts.push(make('span', { class: above ? 'beyond' : '' }, above ? `■ above the limit, up to ${Number.isFinite(span[1]) ? span[1].toLocaleString('en', { maximumSignificantDigits: 3 }) : 'Inf'}`
      : 'nothing above the limit'));
  }
  if (empty && lacks) parts.push(make('span', {}, make('span', { class: 'hatched', 'aria-hidden': 'true' }), ` ${empty}`));
  place.replaceChildren(...parts);
}

// What a map is made from. `wanted` gives a caption, a view and others `like` it, `upright`, `shown`, `limits`, blocks of
// rows, cells that are `ringed`, what a cell is called, its `order`, and what a click and a key do.
function heatmap(wanted) {
  const { view, upright } = wanted;
  const axes = axesOf(view, upright);
  const between = axes.high * (upright ? 4 : 2);
  const height = Math.max(wanted.small ? 24 : 72, Math.min(between, 220));
  const framed = frame(`${wanted.caption}: ${wanted.said}`, height, upright ? ['step →', 'unit ↓'] : ['column →', 'row ↓'],
    { class: 'map', role: 'application', 'aria-roledescription': 'heat map', 'aria-describedby': 'keys' });
  const { canvas, plot } = framed;
  canvas.tabIndex = 0;
  const column = make('div', { class: 'column' });
  const mark = make('div', { class: 'mark' });
  plot.append(column, mark);
  if (view.empty) plot.classList.add('hatched');
  const key = make('div', { class: 'legend' });
  const map = { ...wanted, axes, framed, canvas, rows: null, across: null };
  map.window = () => windowOf(map);
  map.order = () => (wanted.order ? wanted.order() : null);
  map.tools = make('span', { class: 'tools' });
  map.figure = make('figure', { class: 'chart' },
    make('figcaption', {}, make('b', {}, wanted.caption), wanted.name ? ` ${wanted.name},` : '', ` ${wanted.said}`), framed.whole,
    make('div', { class: 'foot' }, key, map.tools));
  const blocks = (wanted.blocks || []).slice(1).map((block) => {
    const line = make('div', { class: 'block' });
    plot.append(line);
    return { line, start: block.start / (upright ? view.per_unit : view.per_step) };
  });
  const rings = (wanted.ringed || []).map((cell) => ({ ...cell, ring: make('div', { class: 'ring', title: cell.said }) }));
  plot.append(...rings.map(({ ring }) => ring));
  const middleOf = (cell, from, to) => (cell + 0.5 - from) / (to - from);
  const rowOf = (cell) => (map.order() ? map.order().indexOf(cell) : cell);
  const moveMarks = () => {
    const [left, right, top, bottom] = map.window();
    blocks.forEach(({ line, start }) => lay(line, null, (start - top) / (bottom - top)));
    rings.forEach(({ ring, x, y }) => lay(ring, middleOf(x, left, right), middleOf(rowOf(y), top, bottom)));
  };
  map.place = (x, y) => {
    const [left, right, top, bottom] = map.window();
    const row = rowOf(y);
    const inside = x >= left && x < right;
    column.hidden = !inside;
    mark.hidden = !inside || row < top || row >= bottom;
    [column, mark].forEach((one) => {
      one.style.left = `${((x - left) / (right - left)) * 100}%`;
      one.style.width = `${100 / (right - left)}%`;
    });
    mark.style.top = `${((row - top) / (bottom - top)) * 100}%`;
    mark.style.height = `${100 / (bottom - top)}%`;
    moveMarks();
  };
  whenSeen(canvas, function* draw() {
    const span = yield* spanOfAll([view, ...(wanted.like || [])]);
    map.scale = scaleOf(span, wanted.shown, wanted.limits);
    if (!(yield* paint(map))) return;
    legend(key, map.scale, span, view);
    axisTicks(map);
    moveMarks();
  });
  pointing(map);
  return map;
}

// At shares of a plot's width and height; out of sight where it is outside.
function lay(element, x, y) {
  element.hidden = (x !== null && (x < 0 || x > 1)) || y < 0 || y > 1;
  if (x !== null) element.style.left = `${x * 100}%`;
  element.style.top = `${y * 100}%`;
}

// The cells that are shown: from left to right and from top to bottom.
function windowOf({ view, upright, axes, rows, across }) {
  const [first, after] = stepsShown();
  const [left, right] = upright ? [Math.floor(first / view.per_step), Math.ceil(after / view.per_step)] : across ?? [0, axes.wide];
  return [left, right, ...(rows ?? [0, axes.high])];
}

// Whether there was anything to draw anew.
function* paint(map) {
  const { canvas } = map;
  const window_ = map.window();
  const dots = window.devicePixelRatio || 1;
  const wide = Math.max(1, Math.min(window_[1] - window_[0], Math.round(canvas.clientWidth * dots)));
  const high = Math.max(1, Math.min(window_[3] - window_[2], Math.round(canvas.clientHeight * dots)));
  const same = canvas.width === wide && canvas.height === high && canvas.painted && !canvas.stale;
  if (same && canvas.across === canvas.clientWidth) return false;
  canvas.across = canvas.clientWidth;
  if (same) return true; // only the ticks stand elsewhere
  const image = yield* imageOf(map, window_, map.order(), wide, high);
  canvas.width = wide;
  canvas.height = high;
  canvas.getContext('2d').putImageData(image, 0, 0);
  canvas.painted = true;
  canvas.stale = false;
  return true;
}

function axisTicks({ view, upright, framed, canvas, blocks, window: shownCells, order }) {
  const [left, right, top, bottom] = shownCells();
  const [perX, perY] = upright ? [view.per_step, view.per_unit] : [view.per_unit, view.per_step];
  const share = (one, per, from, to) => (Math.floor(one / per) + 0.5 - from) / (to - from);
  const [wide, high] = upright ? [view.steps, view.units] : [view.units, view.steps];
  framed.ticksAcross(wholeTicks(left * perX, Math.min(right * perX, wide), canvas.clientWidth / FAR.x, (one) => share(one, perX, left, right)));
  if (blocks?.length) {
    framed.ticksDown(blocks.map(({ name, start, stop }) => ({ said: name, at: ((start + stop) / 2 / perY - top) / (bottom - top) }))
      .filter(({ at }) => at >= 0 && at <= 1));
  } else if (order()) {
    const sorted = order().slice(top, bottom);
    framed.ticksDown(sorted.map((unit, row) => ({ said: String(unit * perY), at: (row + 0.5) / sorted.length })));
  } else {
    framed.ticksDown(wholeTicks(top * perY, Math.min(bottom * perY, high), canvas.clientHeight / FAR.y, (one) => share(one, perY, top, bottom)));
  }
}
