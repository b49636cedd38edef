// The numbers that the file keeps of a layer: what each kept step starts from, and what the engine gave. They are
// (steps, units) in one typed array: { numbers, units }.

// Every run that the page shows: { name, verdict, engine, recorded, layers }. The first one is `data` itself.
const runs = [data, ...data.beside];
for (const run of runs) run.layers.forEach((layer) => { layer.run = run; });

// The same layer and direction in another run.
function counterpart(layer, run) {
  return run.layers.find((one) => one.layer === layer.layer && one.direction === layer.direction);
}

function arrayOf(array) {
  return { numbers: unpacked(array), units: array.shape[1] };
}

// The place of a step among the kept ones; -1 where it is none of them.
function placeIn(step) {
  return data.whole ? step : data.kept.indexOf(step);
}

function orderOf(layer, step) {
  return layer.direction === 'reverse' ? data.length - 1 - step : step;
}

// The step that the layer processed before this one; null for the first.
function stepBefore(layer, step) {
  if (orderOf(layer, step) === 0) return null;
  return layer.direction === 'reverse' ? step + 1 : step - 1;
}

// What the layers below gave, side by side, or the input of the network.
function inputOf(layer) {
  const below = layer.run.layers.filter((one) => one.layer === layer.layer - 1).map((one) => gaveOf(one, 'h'));
  if (!below.length) return arrayOf(data.x);
  if (below.length === 1) return below[0];
  const units = below.reduce((sum, one) => sum + one.units, 0);
  const numbers = new Float64Array(data.length * units);
  for (let step = 0; step < data.length; step += 1) {
    let start = step * units;
    for (const one of below) {
      numbers.set(one.numbers.subarray(step * one.units, (step + 1) * one.units), start);
      start += one.units;
    }
  }
  return { numbers, units };
}

// h of the step before each: what the layer gave there, and h0 before the first.
function hiddenBefore(layer) {
  const { numbers: gave, units } = gaveOf(layer, 'h');
  const numbers = new gave.constructor(gave.length);
  const first = unpacked(layer.kept.h0);
  if (layer.direction === 'reverse') {
    numbers.set(gave.subarray(units));
    numbers.set(first, gave.length - units);
  } else {
    numbers.set(gave.subarray(0, gave.length - units), units);
    numbers.set(first);
  }
  return { numbers, units };
}

const givenKept = new Map();

// x, or h or c of the step before, of every kept step.
function givenOf(layer, name) {
  const known = givenKept.get(layer) ?? {};
  givenKept.set(layer, known);
  const elsewhere = { x: inputOf, h: hiddenBefore };
  known[name] ??= layer.kept.given[name] ? arrayOf(layer.kept.given[name]) : elsewhere[name](layer);
  return known[name];
}

// What the engine gave of a quantity, null where it did not show it. h of a layer that it did not show is there all
// the same, from the equations: `layer.kept.bound` is null then.
function gaveOf(layer, name) {
  return layer.kept.gave[name] ? arrayOf(layer.kept.gave[name]) : null;
}

// dL/d of a quantity, of which the file has every number.
function gradientOf(layer, name) {
  return arrayOf(layer.maps.find((one) => one.quantity === name && one.shown === 'gradient').picture.values);
}

function boundOf(layer) {
  return layer.kept.bound && arrayOf(layer.kept.bound);
}
