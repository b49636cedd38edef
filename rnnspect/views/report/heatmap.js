// A heat map on a canvas: drawn when it comes into sight, with no more cells than the screen has dots. Where several
// numbers share a dot, it has the colour of the one that is farthest from zero.

const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.near = entry.isIntersecting;
    if (entry.isIntersecting) entry.target.draw();
  }
}, { rootMargin: '200px' });
const ofSize = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.near && entry.target.draw()));
const everyDrawing = [];
darkness.addEventListener('change', () => everyDrawing.forEach((one) => {
  one.stale = true;
  if (one.near) one.draw();
}));

function whenSeen(element, draw) {
  element.draw = draw;
  everyDrawing.push(element);
  inSight.observe(element);
  ofSize.observe(element);
}

// `upright` views have steps along x and units down; others, such as weights, have rows down and columns along x.
function axesOf(view, upright) {
  const { rows, columns } = view;
  return upright
    ? { wide: rows, high: columns, at: (x, y) => [x, y] }
    : { wide: columns, high: rows, at: (x, y) => [y, x] };
}

// Views that are to be compared have one scale.
function spanOfAll(several) {
  const spans = several.map(rangeOf);
  return [Math.min(...spans.map((one) => one[0])), Math.max(...spans.map((one) => one[1]))];
}

function paint(canvas, view, upright, shown, span) {
  const axes = axesOf(view, upright);
  const dots = window.devicePixelRatio || 1;
  const wide = Math.max(1, Math.min(axes.wide, Math.round(canvas.clientWidth * dots)));
  const high = Math.max(1, Math.min(axes.high, Math.round(canvas.clientHeight * dots)));
  if (canvas.width === wide && canvas.height === high && canvas.painted && !canvas.stale) return;
  canvas.width = wide;
  canvas.height = high;
  const scale = scaleOf(...span, shown);
  const values = new Float64Array(wide * high).fill(NaN);
  const odd = new Uint8Array(wide * high);
  for (let x = 0; x < axes.wide; x += 1) {
    const column = Math.floor((x * wide) / axes.wide);
    for (let y = 0; y < axes.high; y += 1) {
      const dot = Math.floor((y * high) / axes.high) * wide + column;
      const [i, j] = axes.at(x, y);
      const flags = view.flags(i, j);
      if (flags & ~EMPTY) odd[dot] = 1;
      if (flags & EMPTY) continue;
      const [least, most] = [view.low(i, j), view.high(i, j)];
      const value = Math.abs(least) > Math.abs(most) ? least : most;
      if (!(Math.abs(values[dot]) > Math.abs(value))) values[dot] = value;
    }
  }
  const image = new ImageData(wide, high);
  for (let dot = 0; dot < values.length; dot += 1) {
    if (Number.isNaN(values[dot]) && !odd[dot]) continue;
    const infinite = shown === 'ratio' && odd[dot];
    image.data.set(infinite ? beyond[theme()] : colourOf(scale, values[dot], odd[dot]), dot * 4);
    image.data[dot * 4 + 3] = 255;
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
  canvas.painted = true;
  canvas.stale = false;
  legend(canvas.legend, scale, span, shown);
}

function legend(place, scale, span, shown) {
  const strip = make('canvas', { width: 256, height: 1, class: 'strip', 'aria-hidden': 'true' });
  const image = new ImageData(256, 1);
  tableOf(scale.name).forEach((colour, at) => image.data.set([...colour, 255], at * 4));
  strip.getContext('2d').putImageData(image, 0, 0);
  const parts = [make('span', {}, written(scale.low, 3)), strip, make('span', {}, written(scale.high, 3))];
  if (scale.limit !== undefined) {
    const above = span[1] > scale.limit;
    parts.push(make('span', { class: above ? 'beyond' : '' }, above ? `■ above the bound, up to ${Number.isFinite(span[1]) ? span[1].toLocaleString('en', { maximumSignificantDigits: 3 }) : 'Inf'}`
      : 'nothing above the bound'));
  }
  place.replaceChildren(...parts);
  place.hidden = false;
}

// `wanted` gives a caption, a view and others `like` it, `upright`, `shown`, blocks of rows, and what a cell is.
function heatmap(wanted) {
  const { view, upright } = wanted;
  const axes = axesOf(view, upright);
  const canvas = make('canvas', { class: 'map', role: 'img', 'aria-label': `${wanted.caption}: ${wanted.said}` });
  canvas.tabIndex = 0;
  const column = make('div', { class: 'column' });
  const mark = make('div', { class: 'mark' });
  const plot = make('div', { class: 'plot' }, canvas, column, mark);
  const between = (axes.high * (upright ? 4 : 2));
  plot.style.height = `${Math.max(wanted.small ? 24 : 72, Math.min(between, 220))}px`;
  canvas.legend = make('div', { class: 'legend' });
  canvas.legend.hidden = true;
  const parts = [make('figcaption', {}, make('b', {}, wanted.caption), ` ${wanted.said}`)];
  const figure = make('figure', {}, ...parts, plot, canvas.legend);
  (wanted.blocks || []).forEach((block, at) => {
    const line = make('div', { class: at ? 'block ruled' : 'block' }, block.name);
    line.style.top = `${(block.start / (upright ? view.units : view.steps)) * 100}%`;
    plot.append(line);
  });
  whenSeen(canvas, () => paint(canvas, view, upright, wanted.shown, spanOfAll([view, ...(wanted.like || [])])));
  const placed = (element, x, y) => {
    element.style.left = `${(x / axes.wide) * 100}%`;
    element.style.width = `${100 / axes.wide}%`;
    if (y === null) return;
    element.style.top = `${(y / axes.high) * 100}%`;
    element.style.height = `${100 / axes.high}%`;
  };
  if (wanted.first) {
    const ring = make('div', { class: 'ring', title: 'the first number that differs' });
    ring.style.left = `${((Math.floor(wanted.first.step / view.per_step) + 0.5) / axes.wide) * 100}%`;
    ring.style.top = `${((Math.floor(wanted.first.unit / view.per_unit) + 0.5) / axes.high) * 100}%`;
    plot.append(ring);
  }
  const pointed = (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (at, size, cells) => Math.max(0, Math.min(cells - 1, Math.floor((at / size) * cells)));
    return [inside(event.clientX - box.left, box.width, axes.wide), inside(event.clientY - box.top, box.height, axes.high)];
  };
  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = pointed(event);
    tipAt(event, `${wanted.address(x, y)}: ${cellWritten(view, ...axes.at(x, y))}`);
  });
  canvas.addEventListener('pointerleave', () => { document.getElementById('tip').hidden = true; });
  canvas.addEventListener('click', (event) => wanted.chosen && wanted.chosen(...pointed(event)));
  canvas.addEventListener('keydown', (event) => wanted.key && wanted.key(event));
  return { figure, canvas, placed, column, mark, axes };
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
