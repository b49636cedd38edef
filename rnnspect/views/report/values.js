// What everything on the page draws and says, wherever its numbers are kept. Drawings ask here and nowhere else.
//
// A view holds numbers by step and unit, in cells of `per_step` steps and `per_unit` units:
//   steps, units       how many there are
//   rows, columns      cells along the steps, and along the units
//   exact              whether each cell is one number
//   low, high (i, j)   the smallest and the largest finite number of a cell, the same where it is exact
//   flags (i, j)       what else is in it: NAN, PLUS, MINUS; EMPTY where no number is finite; 0 where all are
//   at (step, unit)    the number, or null where a cell holds several
// The rows of a parameter are the steps of its view, and its columns the units.

function viewOf(picture) {
  const { steps, units, per_step, per_unit } = picture;
  const rows = Math.ceil(steps / per_step);
  const columns = Math.ceil(units / per_unit);
  const view = { steps, units, per_step, per_unit, rows, columns, exact: Boolean(picture.values) };
  if (view.exact) return exactView(steps, units, () => unpacked(picture.values));
  const bound = (name) => (i, j) => picture.origin + unpacked(picture[name])[i * columns + j] * picture.step;
  const flags = (i, j) => (picture.flags ? unpacked(picture.flags)[i * columns + j] : 0);
  return Object.assign(view, { low: bound('low'), high: bound('high'), flags, at: () => null });
}

// Of numbers (steps, units) that are made when the first of them is asked for.
function exactView(steps, units, made) {
  let numbers = null;
  const at = (i, j) => {
    numbers ??= made();
    return numbers[i * units + j];
  };
  const flags = (i, j) => {
    const value = at(i, j);
    if (Number.isFinite(value)) return 0;
    return EMPTY | (Number.isNaN(value) ? NAN : value > 0 ? PLUS : MINUS);
  };
  return { steps, units, per_step: 1, per_unit: 1, rows: steps, columns: units, exact: true, low: at, high: at, flags, at };
}

const BLOCK = 16;

// Some expressions of a layer at every step, (steps, units), by their name: { name: { at, units } } gives them.
function everyStep(layer, wanted) {
  const roots = Object.entries(wanted);
  const found = Object.fromEntries(roots.map(([name, { units }]) => [name, new Float64Array(data.length * units)]));
  for (let step = 0; step < data.length; step += BLOCK) {
    const of = numbersOf(layer, step, Math.min(BLOCK, data.length - step));
    for (const [name, { at, units }] of roots) found[name].set(of(at), step * units);
  }
  return found;
}

function quantitiesOf(layer) {
  layer.quantities ??= everyStep(layer, layer.derivable.equations);
  return layer.quantities;
}

// engine − equations; 0 where both are the same infinity or both NaN.
function apart(engine, manual) {
  return Object.is(engine, manual) || engine === manual ? 0 : engine - manual;
}

// |difference| / bound; 0 where a check cannot judge, whose bound is infinite, and infinite where one is not a number.
function ratioOf(difference, bound) {
  if (difference === 0 || bound === Infinity) return 0;
  const ratio = Math.abs(difference) / bound;
  return Number.isNaN(ratio) ? Infinity : ratio;
}

// What is shown of a quantity, from the numbers that the file keeps of every step.
function derivedView(layer, quantity, shown) {
  const exact = (units, made) => exactView(data.length, units, made);
  const { equations, projection } = layer.derivable;
  if (quantity === 'input_projection') return exact(projection.units, () => everyStep(layer, { projection }).projection);
  if (quantity === 'x') return exact(givenOf(layer, 'x').units, () => givenOf(layer, 'x').numbers);
  const { units } = equations[quantity];
  if (shown === 'equations') return exact(units, () => quantitiesOf(layer)[quantity]);
  const engine = () => gaveOf(layer, quantity).numbers;
  if (shown === 'engine') return exact(units, engine);
  const difference = () => Float64Array.from(engine(), (value, at) => apart(value, quantitiesOf(layer)[quantity][at]));
  if (shown === 'difference') return exact(units, difference);
  return exact(units, () => difference().map((value, at) => ratioOf(value, boundOf(layer).numbers[at])));
}

const views = new Map();

// Made once for each key.
function viewed(key, made) {
  if (!views.has(key)) views.set(key, made());
  return views.get(key);
}

// What the implementation of another run gave minus what that of this one gave; null where one of them does not show
// it, or where the file does not hold every step. `other` is the counterpart of the layer.
function betweenRuns(layer, other, quantity) {
  const [mine, theirs] = [layer, other].map((one) => valuesOf(one, quantity, 'engine'));
  if (!mine?.exact || !theirs?.exact) return null;
  const made = () => Float64Array.from({ length: mine.steps * mine.units }, (_, at) => {
    const [step, unit] = [Math.floor(at / mine.units), at % mine.units];
    return apart(theirs.at(step, unit), mine.at(step, unit));
  });
  mine.beside ??= new Map();
  if (!mine.beside.has(theirs)) mine.beside.set(theirs, exactView(mine.steps, mine.units, made));
  return mine.beside.get(theirs);
}

// The heat maps of a layer in the order in which they are drawn: { quantity, shown }.
function mapsOf(layer) {
  return layer.maps;
}

// `shown` is "equations", "engine", "difference" or "ratio" (of |difference| to the bound); null where there is none.
function valuesOf(layer, quantity, shown) {
  const found = layer.maps.find((one) => one.quantity === quantity && one.shown === shown);
  if (!found) return null;
  return viewed(found, () => (found.picture ? viewOf(found.picture) : derivedView(layer, quantity, shown)));
}

// Numbers over time, one a step: { name, view }.
function curvesOf(layer) {
  return layer.curves.map((one) => ({ name: one.name, view: viewed(one, () => viewOf(one.picture)) }));
}

function weightsOf(name) {
  return viewed(data.weights[name], () => viewOf(data.weights[name]));
}

// Whether a click on a number of this step opens how it was computed.
function openable(step) {
  return placeIn(step) >= 0;
}

// What of a long run is not in the file; null where every number is.
function included() {
  if (data.whole) return null;
  const { kept, length } = data;
  const steps = kept.length === length ? `All ${counted(length, 'step')} open.`
    : `${kept.length} of ${counted(length, 'step')} open; a click on any other says how to get it.`;
  return `This run has more numbers than fit into one file. ${steps} A cell of a heat map may be the range of several numbers.`;
}

// The smallest and the largest finite number; Infinity and -Infinity where there is none.
function rangeOf(view) {
  if (view.range) return view.range;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < view.rows; i += 1) {
    for (let j = 0; j < view.columns; j += 1) {
      if (view.flags(i, j) & EMPTY) continue;
      if (view.low(i, j) < low) low = view.low(i, j);
      if (view.high(i, j) > high) high = view.high(i, j);
    }
  }
  view.range = [low, high];
  return view.range;
}

// The cell of a view that holds a number, as text: "0.25", "-0.1 to 0.25", "0.25 and NaN".
function cellWritten(view, i, j) {
  const flags = view.flags(i, j);
  const odd = [[NAN, 'NaN'], [PLUS, 'Inf'], [MINUS, '-Inf']].filter(([flag]) => flags & flag);
  const said = odd.map(([, name]) => name);
  if (!(flags & EMPTY)) {
    const [low, high] = [view.low(i, j), view.high(i, j)];
    said.unshift(low === high ? written(low) : `${written(low)} to ${written(high)}`);
  }
  return said.join(' and ');
}

function numberWritten(view, step, unit) {
  return cellWritten(view, Math.floor(step / view.per_step), Math.floor(unit / view.per_unit));
}
