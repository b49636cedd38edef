// A layer's equations, as Python recorded them, at a step whose numbers are in the file. Nothing here knows a cell.

// As if rounded once; where it is not finite, what adding up gives.
function total(values) {
  let sum = 0;
  let lost = 0;
  for (const value of values) {
    const next = sum + value;
    lost += Math.abs(sum) >= Math.abs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  return Number.isFinite(lost) ? sum + lost : sum;
}

// By kind of an expression, of its operands and then its numbers. NaN stays NaN.
const operations = {
  '+': (...values) => total(values),
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

// The numbers of a layer at a step, each computed when it is asked for; null for a step that is not kept.
function numbersAt(layer, step) {
  const { steps, given, expressions, equations } = layer.derivable;
  const kept = steps.indexOf(step);
  if (kept < 0) return null;
  if (layer.numbers?.step === step) return layer.numbers;
  const known = expressions.map(() => []);
  const entry = (array, unit) => unpacked(array)[array.shape.length > 1 ? kept * array.shape[1] + unit : unit];
  // Each weight of a sum, the number that it is multiplied with, and the product.
  const products = (one, unit) => {
    const { values, units } = data.weights[one.name];
    const row = unpacked(values).subarray((one.row + unit) * units, (one.row + unit + 1) * units);
    return Array.from(row, (w, k) => ({ k, w, v: value(one.of[0], k), product: w * value(one.of[0], k) }));
  };
  const evaluated = (one, unit) => {
    if (one.values) return entry(one.values, unit);
    if (one.kind === 'given') return entry(given[one.name], unit);
    if (one.kind === 'quantity') return value(equations[one.name].at, unit);
    if (one.kind === 'parameter') return unpacked(data.weights[one.name].values)[one.row + unit];
    if (one.kind === 'sum') return total(products(one, unit).map((each) => each.product));
    return operations[one.kind](...one.of.map((part) => value(part, unit)), ...one.numbers);
  };
  function value(at, unit) {
    known[at][unit] ??= evaluated(expressions[at], unit);
    return known[at][unit];
  }
  const order = layer.direction === 'reverse' ? data.length - 1 - step : step;
  const before = order === 0 ? null : step + (layer.direction === 'reverse' ? 1 : -1);
  // As in rnnspect derive: a state before the first step is h0 or c0, at its own place.
  const address = (one, unit) => {
    if (one.kind === 'quantity' || one.name === 'x') return `${one.name}[step ${step}, ${unit}]`;
    return before === null ? `${one.name}0[${[...layer.place, unit].join(', ')}]` : `${one.name}[step ${before}, ${unit}]`;
  };
  layer.numbers = { step, before, value, quantity: (name, unit) => value(equations[name].at, unit), entry, products, address };
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
