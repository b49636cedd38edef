// What everything on the page draws and says, wherever its numbers are kept. Drawings ask here and nowhere else.
//
// A view holds numbers by step and unit, in cells of `per_step` steps and `per_unit` units:
//   steps, units       how many there are
//   rows, columns      cells along the steps, and along the units
//   exact              whether each cell is one number
//   low, high (i, j)   the smallest and the largest finite number of a cell, the same where it is exact
//   flags (i, j)       what else is in it: NAN, PLUS, MINUS; EMPTY where no number is finite; 0 where all are
//   empty              what is said of a cell that is EMPTY and nothing else, where there are such cells
//   at (step, unit)    the number, or null where a cell holds several
//   ready ()           the work, bit by bit, after which each number is at hand; before, one is computed when it is asked for
// The rows of a parameter are the steps of its view, and its columns the units.

function viewOf(picture) {
  const { steps, units, per_step, per_unit } = picture;
  const rows = Math.ceil(steps / per_step);
  const columns = Math.ceil(units / per_unit);
  const view = { steps, units, per_step, per_unit, rows, columns, exact: Boolean(picture.values) };
  if (view.exact) return keptView(steps, units, () => unpacked(picture.values));
  const bound = (name) => (i, j) => picture.origin + unpacked(picture[name])[i * columns + j] * picture.step;
  const flags = (i, j) => (picture.flags ? unpacked(picture.flags)[i * columns + j] : 0);
  return Object.assign(view, { low: bound('low'), high: bound('high'), flags, at: () => null, ready: nothing });
}

function* nothing() {} // no work

// Of one number a cell, which `at` gives; `ready` is the work after which each of them is at hand.
function exactView(steps, units, at, ready = nothing) {
  const flags = (i, j) => {
    const value = at(i, j);
    if (Number.isFinite(value)) return 0;
    return EMPTY | (Number.isNaN(value) ? NAN : value > 0 ? PLUS : MINUS);
  };
  return { steps, units, per_step: 1, per_unit: 1, rows: steps, columns: units, exact: true, low: at, high: at, flags, at, ready };
}

// Of numbers (steps, units) in an array, which is unpacked when the first of them is asked for.
function keptView(steps, units, made) {
  let numbers = null;
  return exactView(steps, units, (i, j) => {
    numbers ??= made();
    return numbers[i * units + j];
  });
}

const PRODUCTS = 2e6; // computed in one bit of work

// How many steps of a layer that is: an even number.
function stepsOfBit(layer) {
  layer.units ??= unitsOf(layer);
  const products = layer.derivable.expressions.map((one, at) => (one.kind === 'sum' ? layer.units[at] * data.weights[one.name].units : 0));
  return Math.max(2, Math.min(16, 2 * Math.floor(PRODUCTS / 2 / total(products))));
}

// Some expressions of a layer at every step, bit by bit: { name: { at, units } } gives them. In the end (steps, units) by name.
function* everyStep(layer, wanted) {
  const roots = Object.entries(wanted);
  const found = Object.fromEntries(roots.map(([name, { units }]) => [name, new Float64Array(data.length * units)]));
  const several = stepsOfBit(layer);
  for (let step = 0; step < data.length; step += several) {
    const of = numbersOf(layer, step, Math.min(several, data.length - step));
    for (const [name, { at, units }] of roots) found[name].set(of(at), step * units);
    yield step / data.length;
  }
  return found;
}

// An expression of a layer, whose numbers are computed together with those of others.
function computedView(layer, name, { at, units }, every) {
  const one = (step, unit) => (every.result ? every.result[name][step * units + unit] : numbersAt(layer, step).value(at, unit));
  return exactView(data.length, units, one, every.ready);
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
  const { equations, gradients, projection } = layer.derivable;
  if (shown === 'gradient') {
    layer.everyGradient ??= shared(() => everyStep(layer, gradients));
    return computedView(layer, quantity, gradients[quantity], layer.everyGradient);
  }
  if (quantity === 'input_projection') {
    return computedView(layer, 'projection', projection, shared(() => everyStep(layer, { projection })));
  }
  if (quantity === 'x') return keptView(data.length, givenOf(layer, 'x').units, () => givenOf(layer, 'x').numbers);
  const { units } = equations[quantity];
  if (shown === 'engine') return keptView(data.length, units, () => gaveOf(layer, quantity).numbers);
  if (shown === 'equations') {
    layer.every ??= shared(() => everyStep(layer, equations));
    return computedView(layer, quantity, equations[quantity], layer.every);
  }
  const [manual, engine] = ['equations', 'engine'].map((one) => valuesOf(layer, quantity, one));
  const difference = (i, j) => apart(engine.at(i, j), manual.at(i, j));
  if (shown === 'difference') return exactView(data.length, units, difference, manual.ready);
  const bound = keptView(data.length, units, () => boundOf(layer).numbers);
  return exactView(data.length, units, (i, j) => ratioOf(difference(i, j), bound.at(i, j)), manual.ready);
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
  mine.beside ??= new Map();
  const made = () => exactView(mine.steps, mine.units, (i, j) => apart(theirs.at(i, j), mine.at(i, j)));
  if (!mine.beside.has(theirs)) mine.beside.set(theirs, made());
  return mine.beside.get(theirs);
}

// The heat maps of a layer in the order in which they are drawn: { quantity, shown }.
function mapsOf(layer) {
  return layer.maps;
}

// `shown` is "equations", "engine", "difference", "ratio" (of |difference| to the bound) or "gradient"; null where there
// is none.
function valuesOf(layer, quantity, shown) {
  const found = layer.maps.find((one) => one.quantity === quantity && one.shown === shown);
  if (!found) return null;
  return viewed(found, () => (found.picture ? viewOf(found.picture) : derivedView(layer, quantity, shown)));
}

// Numbers over time, one a step: { name, view }.
function curvesOf(layer, curves = layer.curves) {
  return curves.map((one) => ({ name: one.name, view: viewed(one, () => viewOf(one.picture)) }));
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
  const steps = kept.length === length ? `All ${counted(length, 'step')} can be opened.`
    : `${kept.length} of ${counted(length, 'step')} can be opened; a click on any other says how to get it.`;
  return `This run has more numbers than fit into one file. ${steps} A cell of a heat map may be the range of several numbers.`;
}

// The smallest and the largest finite number, bit by bit; Infinity and -Infinity where there is none. And the largest
// size in the faintest row: the smallest of them that is not 0, or Infinity.
function* rangeOf(view) {
  if (view.range) return view.range;
  yield* view.ready();
  let low = Infinity;
  let high = -Infinity;
  let faintest = Infinity;
  for (let i = 0; i < view.rows; i += 1) {
    if (pauses(i, view.columns)) yield;
    let most = 0;
    for (let j = 0; j < view.columns; j += 1) {
      if (view.flags(i, j) & EMPTY) {
        view.lacks = true;
        continue;
      }
      const [least, largest] = [view.low(i, j), view.high(i, j)];
      if (least < low) low = least;
      if (largest > high) high = largest;
      most = Math.max(most, -least, largest);
    }
    if (most > 0 && most < faintest) faintest = most;
  }
  view.range = [low, high, faintest];
  return view.range;
}

// The cell of a view that holds a number, as text: "0.25", "-0.1 to 0.25", "0.25 and NaN".
function cellWritten(view, i, j) {
  const flags = view.flags(i, j);
  if (flags === EMPTY) return view.empty;
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
