// The heat maps of a layer, and what a click or a key on one does.

function sampled(view) {
  if (view.exact) return '';
  return `; each cell is the range over ${counted(view.per_step, 'step')} × ${counted(view.per_unit, 'unit')}`;
}

// The step that a click on a cell means: one of which the derivation is kept, if the cell has one.
function stepIn(layer, view, cell) {
  const first = cell * view.per_step;
  const held = (step) => step >= first && step < first + view.per_step;
  if (held(now.step) && layer.derivable.steps.includes(now.step)) return now.step;
  return layer.derivable.steps.find(held) ?? (held(now.step) ? now.step : first);
}

function mapFigure(layer, one) {
  const { quantity, shown } = one;
  const view = valuesOf(layer, quantity, shown);
  const gates = data.gates.length;
  const packed = quantity === 'input_projection' && gates > 1;
  const hidden = view.units / (packed ? gates : 1);
  const named = (unit) => (packed ? `${data.gates[Math.floor(unit / hidden)]}, unit ${unit % hidden}` : `unit ${unit}`);
  const whose = { equations: 'equations', engine: engineName, difference: `${engineName} − equations`, ratio: '|difference| / bound' }[shown];
  const drawnMap = heatmap({
    view,
    upright: true,
    shown,
    caption: quantity,
    like: ['equations', 'engine'].includes(shown) ? ['equations', 'engine'].map((name) => valuesOf(layer, quantity, name)).filter(Boolean) : [],
    first: firstOf(layer)?.quantity === quantity ? firstOf(layer) : null,
    said: `${whose}, ${view.steps.toLocaleString('en')} steps × ${counted(view.units, 'unit')}${sampled(view)}`,
    blocks: packed ? data.gates.map((name, at) => ({ name, start: at * hidden })) : [],
    address: (x, y) => {
      const units = view.per_unit === 1 ? named(y) : `units ${range(y * view.per_unit, view.per_unit, view.units)}`;
      const steps = range(x * view.per_step, view.per_step, view.steps);
      return `${quantity} (${whose}), ${placeOf(layer)}, step ${steps}, ${units}`;
    },
    chosen: (x, y) => open(layer, one, stepIn(layer, view, x), y * view.per_unit),
    key: (event) => pressed(event, layer, one, drawnMap),
  });
  watch(() => {
    const row = Math.min(one.row ?? now.unit, view.units - 1);
    drawnMap.placed(drawnMap.column, Math.floor(now.step / view.per_step), null);
    drawnMap.placed(drawnMap.mark, Math.floor(now.step / view.per_step), Math.floor(row / view.per_unit));
  });
  return drawnMap.figure;
}

// x leads to the layer below, and the input projection to the gate that it goes into.
function open(layer, one, step, unit) {
  const below = data.layers.filter((other) => other.layer === layer.layer - 1);
  const view = valuesOf(layer, one.quantity, one.shown);
  if (one.quantity === 'input_projection') {
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

function pressed(event, layer, one, drawnMap) {
  const view = valuesOf(layer, one.quantity, one.shown);
  const row = Math.min(one.row ?? now.unit, view.units - 1);
  const steps = { ArrowLeft: -view.per_step, ArrowRight: view.per_step, PageDown: -10 * view.per_step, PageUp: 10 * view.per_step };
  const units = { ArrowUp: -view.per_unit, ArrowDown: view.per_unit };
  if (event.key in steps) move(now.step + steps[event.key], null);
  else if (event.key === 'Home') move(0, null);
  else if (event.key === 'End') move(data.length - 1, null);
  else if (event.key in units) {
    one.row = Math.max(0, Math.min(view.units - 1, row + units[event.key]));
    if (!(one.quantity === 'x' || one.quantity === 'input_projection')) {
      move(null, one.row);
      one.row = undefined;
    } else watchers.forEach((watcher) => watcher());
  } else if (event.key === 'Enter' || event.key === ' ') open(layer, one, now.step, row);
  else return;
  event.preventDefault();
  const unit = Math.min(one.row ?? now.unit, view.units - 1);
  say(`${one.quantity} ${one.shown}, step ${now.step}, unit ${unit}: ${numberWritten(view, now.step, unit)}`);
  drawnMap.canvas.focus();
}

function layerSection(layer) {
  const backwards = layer.direction === 'reverse' ? ', from the last step to the first' : '';
  const taken = layer.beside ? `Each step starts from what ${whoGave} gave at the step before, as in a check.`
    : `${whoShows} shows nothing of this layer: all of it is from the equations.`;
  const norms = curvesOf(layer).filter((one) => one.name.startsWith('norm')).map((one) => (
    { name: one.name.endsWith('engine') ? engineName : 'equations', view: one.view }));
  const gates = curvesOf(layer).filter((one) => one.name.startsWith('saturated')).map((one) => (
    { name: one.name.slice('saturated '.length), view: one.view }));
  const words = [...new Set(Object.values(layer.saturated))];
  const limits = words.map((said) => `${Object.keys(layer.saturated).filter((gate) => layer.saturated[gate] === said).join(', ')} ${said}`);
  section(`Layer ${layer.layer}, ${layer.direction}`, make('p', { class: 'quiet' }, taken + (backwards && ` It runs${backwards.slice(1)}.`)),
    make('div', { class: 'grid' }, curves('norm of h', 'Euclidean, over time', norms),
      curves('saturated units', `share of each gate over time; ${limits.join('; ')}`, gates, 1)),
    make('div', { class: 'grid' }, ...mapsOf(layer).filter((one) => one.quantity === 'h').map((one) => mapFigure(layer, one))),
    make('div', { class: 'grid' }, ...mapsOf(layer).filter((one) => one.quantity !== 'h').map((one) => mapFigure(layer, one))));
}
