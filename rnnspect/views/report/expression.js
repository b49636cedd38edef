// A layer's equations, as Python recorded them, at a step whose numbers are in the file. Nothing here knows a cell.

// As if rounded once; where it is not finite, what adding up gives.
function total(values) {
  let sum = 0;
  let lost = 0;
  for (const value of values) {
    const next = sum + value;
    const added = next - sum;
    lost += (sum - (next - added)) + (value - added);
    sum = next;
  }
  return Number.isFinite(lost) ? sum + lost : sum;
}

// The same of the products of a row of weights with a vector.
function dot(weights, start, vector) {
  let sum = 0;
  let lost = 0;
  for (let k = 0; k < vector.length; k += 1) {
    const product = weights[start + k] * vector[k];
    const next = sum + product;
    const added = next - sum;
    lost += (sum - (next - added)) + (product - added);
    sum = next;
  }
  return Number.isFinite(lost) ? sum + lost : sum;
}

// By kind of an expression, of its operands and then its numbers. NaN stays NaN.
const operations = {
  '−': (p, q) => p - q,
  '·': (p, q) => p * q,
  number: (n) => n,
  limit: (s, n) => Math.min(Math.max(s, -n), n),
  sigmoid: (s) => 1 / (1 + Math.exp(-s)),
  tanh: Math.tanh,
  relu: (s) => Math.max(s, 0),
  affine: (s, a, b) => a * s + b,
  leaky_relu: (s, a) => (s < 0 ? a * s : s),
  thresholded_relu: (s, a) => (s > a ? s : 0),
  scaled_tanh: (s, a, b) => a * Math.tanh(b * s),
  hard_sigmoid: (s, a, b) => Math.min(Math.max(a * s + b, 0), 1),
  elu: (s, a) => (s < 0 ? a * Math.expm1(s) : s),
  softsign: (s) => s / (1 + Math.abs(s)),
  softplus: (s) => Math.log1p(Math.exp(-Math.abs(s))) + Math.max(s, 0),
};

// How many units each expression of a layer is wanted for.
function unitsOf(layer) {
  const { expressions, equations, projection } = layer.derivable;
  const units = expressions.map(() => 0);
  const want = (at, count) => {
    if (units[at] >= count) return;
    units[at] = count;
    const one = expressions[at];
    one.of.forEach((part) => want(part, one.kind === 'sum' ? data.weights[one.name].units : count));
  };
  for (const root of [...Object.values(equations), ...(projection ? [projection] : [])]) want(root.at, root.units);
  return units;
}

// A function of all units of its operands, one unit after the other.
function applied({ kind, numbers }, operands, units) {
  const result = new Float64Array(units);
  const [p, q] = operands;
  const operation = operations[kind];
  if (kind === '+') {
    const parts = [];
    for (let unit = 0; unit < units; unit += 1) {
      operands.forEach((operand, at) => { parts[at] = operand[unit]; });
      result[unit] = total(parts);
    }
  } else if (q) {
    for (let unit = 0; unit < units; unit += 1) result[unit] = operation(p[unit], q[unit]);
  } else if (p) {
    for (let unit = 0; unit < units; unit += 1) result[unit] = operation(p[unit], ...numbers);
  } else result.fill(operation(...numbers));
  return result;
}

// The numbers of a layer at a kept step: those of an expression for all units at once, when one is first asked for.
function stepOf(layer, place) {
  const { expressions, equations } = layer.derivable;
  layer.units ??= unitsOf(layer);
  const vectors = [];
  const row = ({ numbers, units }) => numbers.subarray(place * units, (place + 1) * units);
  const evaluated = (one, units) => {
    if (one.kind === 'given') return row(givenOf(layer, one.name));
    if (one.kind === 'quantity') return vector(equations[one.name].at);
    if (one.values) return one.kind === 'sum' ? row(arrayOf(one.values)) : unpacked(one.values);
    if (one.kind === 'parameter') return unpacked(data.weights[one.name].values).subarray(one.row, one.row + units);
    if (one.kind !== 'sum') return applied(one, one.of.map(vector), units);
    const weights = unpacked(data.weights[one.name].values);
    const inner = vector(one.of[0]);
    const columns = data.weights[one.name].units;
    const result = new Float64Array(units);
    for (let unit = 0; unit < units; unit += 1) result[unit] = dot(weights, (one.row + unit) * columns, inner);
    return result;
  };
  function vector(at) {
    vectors[at] ??= evaluated(expressions[at], layer.units[at]);
    return vectors[at];
  }
  return vector;
}

// The numbers of a layer at a step, by place of an expression and by name; null for a step that is not in the file.
function numbersAt(layer, step) {
  const place = placeIn(step);
  if (place < 0) return null;
  if (layer.numbers?.step === step) return layer.numbers;
  const vector = stepOf(layer, place);
  const before = stepBefore(layer, step);
  const entry = (kept, unit) => kept.numbers[place * kept.units + unit];
  // Each weight of a sum, the number that it is multiplied with, and the product.
  const products = (one, unit) => {
    const { values, units } = data.weights[one.name];
    const row = unpacked(values).subarray((one.row + unit) * units, (one.row + unit + 1) * units);
    const inner = vector(one.of[0]);
    return Array.from(row, (w, k) => ({ k, w, v: inner[k], product: w * inner[k] }));
  };
  // As in rnnspect derive: a state before the first step is h0 or c0, at its own place.
  const address = (one, unit) => {
    if (one.kind === 'quantity' || one.name === 'x') return `${one.name}[step ${step}, ${unit}]`;
    return before === null ? `${one.name}0[${[...layer.place, unit].join(', ')}]` : `${one.name}[step ${before}, ${unit}]`;
  };
  layer.numbers = {
    step,
    before,
    value: (at, unit) => vector(at)[unit],
    quantity: (name, unit) => vector(layer.derivable.equations[name].at)[unit],
    engine: (name, unit) => (gaveOf(layer, name) ? entry(gaveOf(layer, name), unit) : null),
    bound: (unit) => (boundOf(layer) ? entry(boundOf(layer), unit) : null),
    products,
    address,
  };
  return layer.numbers;
}

// Pieces of text and places of expressions; what stands in a list is put in parentheses where it begins with a minus.
function filled(pieces, said) {
  return pieces.map((piece) => {
    if (!Array.isArray(piece)) return typeof piece === 'string' ? piece : said(piece);
    const text = filled(piece, said);
    return text.startsWith('-') ? `(${text})` : text;
  }).join('');
}

// Where the units, parameters and sums stand that an expression is written with, in reading order.
function leavesOf(expressions, at) {
  const one = expressions[at];
  return one.kind === 'sum' || !one.of.length ? [at] : one.of.flatMap((part) => leavesOf(expressions, part));
}
