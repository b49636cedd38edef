// The page from top to bottom.

const main = document.getElementById('main');
const engineName = data.engine.name;
const whoGave = data.recorded ? 'the recording' : engineName;
const whoShows = data.recorded ? 'The recording' : engineName;

function section(title, ...children) {
  main.append(make('section', {}, make('h2', {}, title), ...children));
}

function header() {
  const { engine, verdict } = data;
  const made = [engine.name, engine.version].filter(Boolean).join(' ') + (engine.device ? ` on ${engine.device}` : '');
  const batch = data.items > 1 ? `, batch item ${data.item} of ${data.items}` : '';
  const long = data.length < data.steps ? ` (${counted(data.length, 'step')} long)` : '';
  document.getElementById('head').append(
    make('h1', {}, data.shapes.module),
    make('p', { class: 'quiet' }, `${made}, ${engine.dtype}; ${counted(data.steps, 'step')}${batch}${long}`),
    make('p', {}, make('span', { class: `badge ${verdict.verdict.replace(' ', '-')}` }, verdict.verdict), ' ',
      verdict.summary.replace(/^[^:]*: /, '')),
    included() ? make('p', { class: 'quiet' }, included()) : '',
    make('p', { class: 'quiet' }, 'In a picture: point at a number to see it, click it to see how it comes about; or the arrow keys and Enter.'),
  );
}

function controls() {
  const form = document.getElementById('controls');
  form.addEventListener('submit', (event) => event.preventDefault());
  const widest = Math.max(data.spec.hidden_size, data.spec.proj_size) - 1;
  const slider = make('input', { type: 'range', id: 'step', min: '0', max: String(data.length - 1), value: '0', 'aria-label': 'Step' });
  const step = make('input', { type: 'number', id: 'exactly', min: '0', max: String(data.length - 1), value: '0', 'aria-label': 'Step, as a number' });
  const unit = make('input', { type: 'number', id: 'unit', min: '0', max: String(widest), value: '0', 'aria-label': 'Unit' });
  slider.addEventListener('input', () => move(slider.valueAsNumber, null));
  step.addEventListener('change', () => move(step.valueAsNumber, null));
  unit.addEventListener('change', () => move(null, unit.valueAsNumber));
  form.append(make('label', { class: 'wide' }, 'step ', slider), step, make('label', {}, 'unit ', unit));
  const { first } = data.verdict;
  const layer = first && data.layers.find((one) => firstOf(one));
  if (layer) form.append(goButton('first difference', layer, first.quantity, first.step, first.unit));
  watch(() => {
    slider.value = now.step;
    step.value = now.step;
    unit.value = now.unit;
  });
}

function times(ratio) {
  const number = numberOf(ratio);
  return Number.isFinite(number) ? `${number.toLocaleString('en', { maximumFractionDigits: 1 })} times` : 'infinitely many times';
}

function verdictSection() {
  const { verdict } = data;
  const list = (items) => items.length ? make('ul', {}, ...items.map((one) => make('li', {}, one))) : null;
  const causes = verdict.causes.map((cause) => make('div', { class: 'cause' },
    make('b', {}, cause.name), `: ${times(cause.worst_ratio_before)} the bound becomes ${
      written(numberOf(cause.worst_ratio_after), 3)} of it if ${cause.explanation}`, make('p', {}, cause.fix),
    make('p', { class: 'quiet' }, `accounts for ${cause.scope.join(', ')}${
      cause.left.length ? `; ${cause.left.join(', ')} still differs` : ''}${
      cause.together.length ? `; together: ${cause.together.join(' + ')}` : ''}`)));
  const alike = verdict.indistinguishable.map((names) => `these numbers cannot tell ${names.join(' from ')}`);
  const fails = verdict.identities.filter((one) => !one.holds).map((one) => (
    `identity that fails: ${one.name}: ${one.evidence}${one.usual ? `; usually ${one.usual}` : ''}`));
  const holds = verdict.identities.filter((one) => one.holds).map((one) => one.name);
  const lines = verdict.causes.length ? verdict.lines.slice(0, 2) : verdict.lines;
  section('Verdict',
    list([verdict.summary, ...lines, ...fails, ...(holds.length ? [`identities that hold: ${holds.join(', ')}`] : []), ...verdict.notes,
      `looked at ${counted(verdict.checked.values, 'value')} in ${counted(verdict.checked.steps, 'step')}`]),
    ...(causes.length ? [make('h3', {}, 'Causes'), ...causes, list(alike)] : []), resolution());
}

function resolution() {
  const rows = Object.entries(data.verdict.resolution).flatMap(([place, gates]) => Object.entries(gates).map(
    ([gate, one]) => [place, gate, ...[one.finest, one.median, one.coarsest].map((value) => {
      const number = numberOf(value);
      return Number.isFinite(number) ? written(number, 2) : '> 0.12';
    })]));
  if (!rows.length) return null;
  return make('details', {}, make('summary', {}, 'The smallest shift of a gate’s pre-activation that would have been seen'),
    table(['layer', 'gate', 'finest unit', 'median', 'coarsest'], rows));
}

// The lines of the cell, and what they are at the step and unit that everything shows.
function equations(layer) {
  const rows = data.equations.map((line) => {
    const name = line.split(' = ')[0].trim().replace(/'$/, '');
    const numbers = make('td', { class: 'now' });
    return { name, numbers, row: make('tr', {}, make('td', { class: 'mono' }, line.replace(/ {4,}/, '    ')), numbers) };
  }).filter((one) => valuesOf(layer, one.name, 'equations'));
  const caption = make('caption', {});
  watch(() => {
    const numbers = numbersAt(layer, now.step);
    const exact = numbers || valuesOf(layer, 'h', 'equations').exact;
    caption.textContent = `${exact ? 'at' : 'in the cell that holds'} step ${now.step}, unit ${now.unit}`;
    rows.forEach((one) => {
      const view = valuesOf(layer, one.name, 'equations');
      const unit = Math.min(now.unit, view.units - 1);
      const manual = numbers ? written(numbers.quantity(one.name, unit)) : numberWritten(view, now.step, unit);
      const engine = valuesOf(layer, one.name, 'engine');
      const given = engine && (numbers ? written(numbers.engine(one.name, unit))
        : numberWritten(engine, now.step, unit));
      one.numbers.replaceChildren(make('b', {}, manual), engine ? make('span', { class: 'quiet' }, ` ${engineName} ${given}`) : '');
    });
  });
  return make('table', { class: 'equations' }, caption, make('tbody', {}, ...rows.map((one) => one.row)));
}

function sampled(view) {
  if (view.exact) return '';
  return `; each cell is the range over ${counted(view.per_step, 'step')} × ${counted(view.per_unit, 'unit')}`;
}

// The step that a click on a cell means: one of which the derivation is kept, if the cell has one.
function stepIn(layer, view, cell) {
  const first = cell * view.per_step;
  const held = (step) => step >= first && step < first + view.per_step;
  if (held(now.step) && openable(now.step)) return now.step;
  return data.whole ? first : data.kept.find(held) ?? (held(now.step) ? now.step : first);
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
  const taken = layer.kept.bound ? `Each step starts from what ${whoGave} gave at the step before, as in a check.`
    : `${whoShows} shows nothing of this layer: all of it is from the equations.`;
  const norms = curvesOf(layer).filter((one) => one.name.startsWith('norm')).map((one) => (
    { name: one.name.endsWith('engine') ? engineName : 'equations', view: one.view }));
  const gates = curvesOf(layer).filter((one) => one.name.startsWith('saturated')).map((one) => (
    { name: one.name.slice('saturated '.length), view: one.view }));
  const words = [...new Set(Object.values(layer.saturated))];
  const limits = words.map((said) => `${Object.keys(layer.saturated).filter((gate) => layer.saturated[gate] === said).join(', ')} ${said}`);
  section(`Layer ${layer.layer}, ${layer.direction}`, make('p', { class: 'quiet' }, taken + (backwards && ` It runs${backwards.slice(1)}.`)),
    equations(layer),
    make('div', { class: 'grid' }, curves('norm of h', 'Euclidean, over time', norms),
      curves('saturated units', `share of each gate over time; ${limits.join('; ')}`, gates, 1)),
    make('div', { class: 'grid' }, ...mapsOf(layer).filter((one) => one.quantity === 'h').map((one) => mapFigure(layer, one))),
    make('div', { class: 'grid' }, ...mapsOf(layer).filter((one) => one.quantity !== 'h').map((one) => mapFigure(layer, one))));
}

function weightFigure(parameter) {
  const view = weightsOf(parameter.name);
  const gateOf = (row) => parameter.gates.find((gate) => row >= gate.start && row < gate.stop);
  return heatmap({
    view,
    upright: false,
    shown: 'weight',
    small: view.steps < 12,
    caption: parameter.name,
    said: `${view.steps} rows × ${view.units} column${view.units === 1 ? '' : 's'}${sampled(view).replace('steps', 'rows').replace('step', 'row').replace('unit', 'column')}`,
    blocks: parameter.gates.length > 1 ? parameter.gates : [],
    address: (x, y) => {
      const row = y * view.per_step;
      const gate = gateOf(row);
      return `${parameter.name}[${range(row, view.per_step, view.steps)}, ${
        range(x * view.per_unit, view.per_unit, view.units)}]${gate && view.per_step === 1 ? ` (${gate.name}, unit ${row - gate.start})` : ''}`;
    },
  }).figure;
}

function parametersSection() {
  const rows = data.shapes.parameters.map((one) => [one.name, one.shape.join(' × '), one.reads,
    one.gates.map((gate) => `${gate.name} ${gate.start}:${gate.stop}`).join('  '), one.count.toLocaleString('en'), one.bytes.toLocaleString('en')]);
  section('Parameters', table(['parameter', 'shape', 'reads', 'gate rows', 'count', 'bytes'], rows),
    make('p', { class: 'quiet' }, `${data.shapes.total.toLocaleString('en')} parameters, ${data.shapes.bytes.toLocaleString('en')} bytes in ${data.spec.dtype}`),
    make('div', { class: 'grid' }, ...data.shapes.parameters.map(weightFigure)));
}

header();
controls();
verdictSection();
section('Network', network());
data.layers.forEach(layerSection);
parametersSection();
const start = data.verdict.first && data.layers.some(firstOf) ? data.verdict.first : null;
if (start) move(start.step, start.unit);
document.documentElement.dataset.ready = 'yes';
