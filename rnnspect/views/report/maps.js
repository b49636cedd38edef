// The heat maps of a layer, and what a click or a key on one does.

function sampled(view) {
  if (view.exact) return '';
  return `; each cell is the range over ${counted(view.per_step, 'step')} × ${counted(view.per_unit, 'unit')}`;
}

// The step that a click on a cell means: one of which the derivation is kept, if the cell has one.
function stepIn(view, cell) {
  const first = cell * view.per_step;
  const held = (step) => step >= first && step < first + view.per_step;
  if (held(now.step) && openable(now.step)) return now.step;
  return data.whole ? first : data.kept.find(held) ?? (held(now.step) ? now.step : first);
}

// Whose numbers a map shows. Of two runs, equations and bounds are those of the one or of the other.
function whoseOf({ run }, shown) {
  const of = runs.length > 1 ? `, ${run.name}` : '';
  if (shown === 'between') return `${runs[1].name} − ${runs[0].name}`;
  return { gradient: 'gradient by the equations', equations: `equations${of}`, engine: run.name, difference: `${run.name} − equations`, ratio: `|difference| / limit${of}` }[shown];
}

// "between" is what the other run gave minus what this one gave.
function shownView(layer, { quantity, shown }) {
  return shown === 'between' ? betweenRuns(layer, counterpart(layer, runs[1]), quantity) : valuesOf(layer, quantity, shown);
}

// "f", "dL/df".
function captionOf({ quantity, shown }) {
  return shown === 'gradient' ? `dL/d${quantity}` : quantity;
}

// What the caption is called by in words. Both directions read x: of its gradient each has a part.
function wordsOf({ quantity, shown }) {
  if (shown !== 'gradient' || gateOf(quantity)) return nameOf(quantity);
  return quantity === 'x' && data.spec.bidirectional ? 'part of this direction' : '';
}

function mapFigure(layer, one) {
  const { quantity, shown } = one;
  const view = shownView(layer, one);
  const gates = data.gates.length;
  const packed = quantity === 'input_projection' && gates > 1;
  const hidden = view.units / (packed ? gates : 1);
  const named = (unit) => (packed ? `${data.gates[Math.floor(unit / hidden)]}, unit ${unit % hidden}` : `unit ${unit}`);
  const both = ['equations', 'engine'];
  const caption = captionOf(one);
  const first = firstOf(layer);
  const map = heatmap({
    view,
    upright: true,
    shown,
    limits: both.includes(shown) ? limitsOf(layer, quantity) : null,
    caption,
    name: wordsOf(one),
    like: likeOf(layer, quantity, shown),
    ringed: first?.quantity === quantity && shown !== 'gradient'
      ? [{ x: Math.floor(first.step / view.per_step), y: Math.floor(first.unit / view.per_unit), said: 'the first wrong value' }] : [],
    said: `${whoseOf(layer, shown)}, ${view.steps.toLocaleString('en')} steps × ${counted(view.units, 'unit')}${sampled(view)}`,
    blocks: packed ? data.gates.map((name, at) => ({ name, start: at * hidden, stop: (at + 1) * hidden })) : [],
    order: packed || quantity === 'x' ? null : () => sortedRows(layer, view),
    address: (x, y) => {
      const units = view.per_unit === 1 ? named(y) : `units ${range(y * view.per_unit, view.per_unit, view.units)}`;
      const steps = range(x * view.per_step, view.per_step, view.steps);
      return `${caption} (${whoseOf(layer, shown)}), ${placeOf(layer)}, step ${steps}, ${units}`;
    },
    chosen: (x, y) => open(layer, one, stepIn(view, x), y * view.per_unit),
    unitChosen: packed || quantity === 'x' ? null : (y) => {
      move(null, y * view.per_unit);
      unitLine(layer, map, true);
    },
    key: (event) => pressed(event, layer, one, map),
  });
  map.file = `${runs.length > 1 ? `${layer.run.name} ` : ''}${placeOf(layer)} ${quantity} ${shown}`;
  addTools(layer, map);
  layer.figures ??= new Map();
  layer.figures.set(`${quantity} ${shown}`, map);
  map.update = () => {
    const row = Math.min(one.row ?? now.unit, view.units - 1);
    map.place(Math.floor(now.step / view.per_step), Math.floor(row / view.per_unit));
  };
  watch(map.update);
  return map.figure;
}

// What has the same scale: the equations and the engine, of every run; else the same of every run.
function likeOf(layer, quantity, shown) {
  const kinds = ['equations', 'engine'].includes(shown) ? ['equations', 'engine'] : [shown];
  const found = runs.flatMap((run) => kinds.map((kind) => valuesOf(counterpart(layer, run), quantity, kind))).filter(Boolean);
  return shown === 'ratio' ? [] : found;
}

// A unit over time below its map: of the equations, and of the engine where both are of one kind.
function unitLine(layer, map, on = !map.line) {
  if (!on) {
    map.line?.remove();
    map.line = null;
    return;
  }
  if (map.line) return;
  const { view } = map;
  const column = () => Math.floor(Math.min(now.unit, view.units - 1) / view.per_unit);
  const engines = runs.map((run) => counterpart(layer, run)).filter((one) => valuesOf(one, map.caption, 'engine'));
  const beside = ['equations', 'engine'].includes(map.shown) && engines.length > 0;
  const lines = beside ? [[layer, 'equations'], ...engines.map((one) => [one, 'engine'])].map(([one, shown]) => (
    { name: whoseOf(one, shown), view: valuesOf(one, map.caption, shown), column })) : [{ name: whoseOf(layer, map.shown), view, column }];
  const title = make('span', {});
  const { figure } = curves('', '', lines, map.limits?.[0] === 0 ? map.limits : null);
  figure.querySelector('figcaption').replaceChildren(title);
  watch(() => { title.textContent = `${map.caption} of unit ${Math.min(now.unit, view.units - 1)} over time`; });
  map.line = figure;
  map.figure.append(figure);
}

// x leads to the layer below, and the input projection to the gate that it goes into.
function open(layer, one, step, unit) {
  const below = layer.run.layers.filter((other) => other.layer === layer.layer - 1);
  const view = shownView(layer, one);
  show(layer);
  if (one.shown === 'gradient') deriveGradient(layer, one.quantity, step, unit);
  else if (one.quantity === 'input_projection') {
    const hidden = view.units / data.gates.length;
    derive(layer, data.gates[Math.floor(unit / hidden)], step, unit % hidden);
  } else if (one.quantity === 'x' && below.length) {
    const units = view.units / below.length;
    derive(below[Math.floor(unit / units)], 'h', step, unit % units);
  } else if (one.quantity === 'x') {
    move(step, null);
    say(`x is the input: ${numberWritten(view, step, unit)}`);
  } else derive(layer, one.quantity, step, unit);
}

function pressed(event, layer, one, map) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const view = shownView(layer, one);
  const row = Math.min(one.row ?? now.unit, view.units - 1);
  const steps = { ArrowLeft: -view.per_step, ArrowRight: view.per_step, PageDown: -10 * view.per_step, PageUp: 10 * view.per_step };
  const units = { ArrowUp: -1, ArrowDown: 1 };
  if (event.key in steps) move(now.step + steps[event.key], null);
  else if (event.key === 'Home') move(0, null);
  else if (event.key === 'End') move(data.length - 1, null);
  else if (event.key === '+' || event.key === '=') zoomBy(map, 0.5);
  else if (event.key === '-') zoomBy(map, 2);
  else if (event.key === '0') zoomOut(map);
  else if (event.key in units) {
    one.row = besideOf(map, view, row, units[event.key]);
    if (!(one.quantity === 'x' || one.quantity === 'input_projection')) {
      move(null, one.row);
      one.row = undefined;
    } else watchers.forEach((watcher) => watcher());
  } else if (event.key === 'Enter' || event.key === ' ') open(layer, one, now.step, row);
  else return;
  event.preventDefault();
  event.stopPropagation();
  const unit = Math.min(one.row ?? now.unit, view.units - 1);
  say(`${captionOf(one)} ${one.shown}, step ${now.step}, unit ${unit}: ${numberWritten(view, now.step, unit)}`);
  map.canvas.focus();
}

// The unit in the row above or below, as the rows stand.
function besideOf(map, view, unit, by) {
  const order = map.order();
  const cell = Math.floor(unit / view.per_unit);
  const row = Math.max(0, Math.min(view.columns - 1, (order ? order.indexOf(cell) : cell) + by));
  return (order ? order[row] : row) * view.per_unit;
}

// The same layer of the other runs.
function othersOf(layer) {
  return runs.slice(1).map((run) => counterpart(layer, run));
}

// Of two runs each map stands beside the same of the other; the input of the network is that of both. Where gradients
// are shown, each quantity begins a row, and its gradients follow it there.
function mapsGrid(layer, wanted, first = null) {
  const others = othersOf(layer);
  const ofBoth = (one) => !layer.layer && ['x', 'input_projection'].includes(one.quantity);
  const each = (one) => (ofBoth(one) ? [layer] : [layer, ...others].filter((of) => valuesOf(of, one.quantity, one.shown)));
  const begins = (one) => data.loss && one.shown === 'equations' && one.quantity !== 'input_projection';
  const rows = mapsOf(layer).filter(wanted).map((one) => {
    const figures = each(one).map((of) => mapFigure(of, one));
    if (begins(one)) figures[0]?.classList.add('begins');
    return figures;
  });
  [[first], ...rows].filter((row) => row.length === 1 && row[0]).forEach(([figure]) => figure.classList.add('alone'));
  return make('div', { class: others.length ? 'grid pairs' : 'grid' }, first, ...rows.flat());
}

function normCurves(layer) {
  const lines = [layer, ...othersOf(layer)].flatMap((one) => curvesOf(one).map(({ name, view }) => ({ name, view, one })))
    .filter(({ name, one }) => name === 'norm of h, engine' || (name === 'norm of h' && one === layer));
  return curves('norm of h', 'Euclidean, over time', lines.map(({ name, view, one }) => (
    { name: name === 'norm of h' ? 'equations' : one.run.name, view }))).figure;
}

function saturationCurves(layer) {
  if (!Object.keys(layer.saturated).length) return null;
  const gates = curvesOf(layer).filter((one) => one.name.startsWith('saturated ')).map(({ name, view }) => ({ name: name.slice('saturated '.length), view }));
  const words = [...new Set(Object.values(layer.saturated))];
  const limits = words.map((said) => `${Object.keys(layer.saturated).filter((gate) => layer.saturated[gate] === said).join(', ')} ${said}`);
  return curves('saturated units', `share of each gate over time; ${limits.join('; ')}`, gates, [0, 1]).figure;
}

function layerSection(layer) {
  const giver = runs.length > 1 ? 'its own run' : layer.run.name;
  const unseen = layer.run.name === 'no engine' ? 'There is no engine' : `${layer.run.name} shows nothing of this layer`;
  const taken = layer.kept.bound ? `Each step starts from what ${giver} gave at the step before, as in a check.`
    : `${unseen}: all of it is from the equations.`;
  const backwards = layer.direction === 'reverse' ? ' It runs from the last step to the first.' : '';
  const hint = layer === data.layers[0] ? ' Hover for a value, click to see how it was computed, drag to zoom.' : '';
  const [other] = othersOf(layer);
  const between = other && betweenRuns(layer, other, 'h') ? mapFigure(layer, { quantity: 'h', shown: 'between' }) : null;
  section(`Layer ${layer.layer}, ${layer.direction}`,
    make('div', { class: 'bar' }, make('p', { class: 'quiet' }, taken + backwards + hint), orderChooser(layer)),
    mapsGrid(layer, (one) => one.quantity === 'h', between), mapsGrid(layer, (one) => one.quantity !== 'h'),
    make('div', { class: 'grid' }, normCurves(layer), saturationCurves(layer)), reachSection(layer));
}
