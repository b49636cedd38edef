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
  if (view.exact) return Object.assign(view, exactly(() => unpacked(picture.values), columns));
  const bound = (name) => (i, j) => picture.origin + unpacked(picture[name])[i * columns + j] * picture.step;
  const flags = (i, j) => (picture.flags ? unpacked(picture.flags)[i * columns + j] : 0);
  return Object.assign(view, { low: bound('low'), high: bound('high'), flags, at: () => null });
}

// Of numbers that are made when the first of them is asked for.
function exactly(numbers, columns) {
  const at = (i, j) => numbers()[i * columns + j];
  const flags = (i, j) => {
    const value = at(i, j);
    if (Number.isFinite(value)) return 0;
    return EMPTY | (Number.isNaN(value) ? NAN : value > 0 ? PLUS : MINUS);
  };
  return { low: at, high: at, flags, at };
}

const views = new Map();

function viewed(picture) {
  if (!views.has(picture)) views.set(picture, viewOf(picture));
  return views.get(picture);
}

// The heat maps of a layer in the order in which they are drawn: { quantity, shown }.
function mapsOf(layer) {
  return layer.maps;
}

// `shown` is "equations", "engine", "difference" or "ratio" (of |difference| to the bound); null where there is none.
function valuesOf(layer, quantity, shown) {
  const found = layer.maps.find((one) => one.quantity === quantity && one.shown === shown);
  return found ? viewed(found.picture) : null;
}

// Numbers over time, one a step: { name, view }.
function curvesOf(layer) {
  return layer.curves.map((one) => ({ name: one.name, view: viewed(one.picture) }));
}

function weightsOf(name) {
  return viewed(data.weights[name]);
}

// Whether a click on a number of this step opens how it was computed.
function openable(step) {
  return data.layers[0].derivable.steps.includes(step);
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
