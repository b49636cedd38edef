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

// The products of rows of weights, from `start` on, with each of `count` vectors, added up in the same way. Two vectors
// at a time: half the weights to read, and two sums that do not wait for each other.
function sumsOf(weights, start, rows, vectors, count) {
  const columns = vectors.length / count;
  const result = new Float64Array(rows * count);
  for (let row = 0; row < rows; row += 1) {
    const first = start + row * columns;
    for (let one = 0; one < count; one += 2) {
      const other = Math.min(one + 1, count - 1);
      const [a, b] = [one * columns, other * columns];
      let [sumA, lostA, sumB, lostB] = [0, 0, 0, 0];
      for (let k = 0; k < columns; k += 1) {
        const w = weights[first + k];
        const productA = w * vectors[a + k];
        const nextA = sumA + productA;
        const addedA = nextA - sumA;
        lostA += (sumA - (nextA - addedA)) + (productA - addedA);
        sumA = nextA;
        const productB = w * vectors[b + k];
        const nextB = sumB + productB;
        const addedB = nextB - sumB;
        lostB += (sumB - (nextB - addedB)) + (productB - addedB);
        sumB = nextB;
      }
      result[one * rows + row] = Number.isFinite(lostA) ? sumA + lostA : sumA;
      result[other * rows + row] = Number.isFinite(lostB) ? sumB + lostB : sumB;
    }
  }
  return result;
}

// By kind of an expression, of its operands and then its numbers. NaN stays NaN.
const operations = {
  '−': (p, q) => p - q,
  '·': (p, q) => p * q,
  number: (n) => n,
  max: (p, q) => Math.max(p, q),
  larger: (p, q) => (p > q ? 1 : Number(p === q) / 2),
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
  exp: Math.exp,
  log: Math.log,
  silu: (s) => s / (1 + Math.exp(-s)),
  reciprocal: (s) => 1 / s,
  cos: Math.cos,
  sin: Math.sin,
  softplus: (s) => Math.log1p(Math.exp(-Math.abs(s))) + Math.max(s, 0),
  // Slopes, with 0 for relu at 0. What is beyond a limit has none.
  within: (s, n) => Number(Math.abs(s) <= n),
  "relu'": (s) => Number(s > 0),
  "affine'": (s, a) => a,
  "leaky_relu'": (s, a) => (s > 0 ? 1 : a),
  "thresholded_relu'": (s, a) => Number(s > a),
  "scaled_tanh'": (s, a, b) => a * b * (1 - Math.tanh(b * s) ** 2),
  "hard_sigmoid'": (s, a, b) => (a * s + b >= 0 && a * s + b <= 1 ? a : 0),
  "elu'": (s, a) => (s > 0 ? 1 : a * Math.exp(s)),
  "softsign'": (s) => 1 / (1 + Math.abs(s)) ** 2,
  "softplus'": (s) => 1 / (1 + Math.exp(-s)),
  "log'": (s) => 1 / s,
  "cos'": (s) => -Math.sin(s),
  "sin'": Math.cos,
  "reciprocal'": (s) => -1 / (s * s),
  "silu'": (s) => (1 + s / (1 + Math.exp(s))) / (1 + Math.exp(-s)),
};

// Every equation of a layer: of its quantities, and where the page derives their gradients, of its pre-activations.
function equationsIn({ equations, pre_activations: inner = {} }) {
  return { ...equations, ...inner };
}

// How many units each expression of a layer is wanted for.
function unitsOf(layer) {
  const { expressions, gradients = {}, projection } = layer.derivable;
  const units = expressions.map(() => 0);
  const want = (at, count) => {
    if (units[at] >= count) return;
    units[at] = count;
    const one = expressions[at];
    const inner = one.kind === 'sum' ? data.weights[one.name].units : count;
    one.of.forEach((part) => want(part, WHOLE.includes(one.kind) ? expressions[part].units : inner));
  };
  const roots = [equationsIn(layer.derivable), gradients].flatMap(Object.values);
  for (const root of [...roots, ...(projection ? [projection] : [])]) want(root.at, root.units);
  return units;
}

// An operation on numbers side by side, one after the other.
function applied({ kind, numbers }, operands, length) {
  const result = new Float64Array(length);
  const [p, q] = operands;
  const operation = operations[kind];
  if (kind === '+') {
    const parts = [];
    for (let at = 0; at < length; at += 1) {
      for (let part = 0; part < operands.length; part += 1) parts[part] = operands[part][at];
      result[at] = total(parts);
    }
  } else if (q) for (let at = 0; at < length; at += 1) result[at] = operation(p[at], q[at]);
  else if (p) for (let at = 0; at < length; at += 1) result[at] = operation(p[at], numbers[0], numbers[1]);
  else result.fill(operation(...numbers));
  return result;
}

// The kinds that are one number for many units of a step, and those that take other units than their own.
const POOLED = ['mean', 'deviation'];
const WHOLE = [...POOLED, 'at', 'packed'];

// A mean or a deviation over so many units of each block, (steps, units): the same for each of these.
function pooledOver({ kind, numbers: [each, eps] }, blocks, count, units) {
  const result = new Float64Array(count * units);
  for (let one = 0; one < count; one += 1) {
    for (let first = 0; first < units; first += each) {
      const values = blocks.flatMap((block) => {
        const start = one * (block.length / count) + first;
        return Array.from(block.subarray(start, start + each));
      });
      const mean = total(kind === 'mean' ? values : values.map((v) => v * v)) / values.length;
      result.fill(kind === 'mean' ? mean : Math.sqrt(mean + eps), one * units + first, one * units + Math.min(first + each, units));
    }
  }
  return result;
}

// The unit that a unit of an "at" stands for: a start, then for each digit what it is divided by, how many there are,
// and how far one of them leads.
function otherUnit([start, ...digits], unit) {
  let other = start;
  for (let at = 0; at < digits.length; at += 3) other += (Math.floor(unit / digits[at]) % digits[at + 1]) * digits[at + 2];
  return other;
}

// What stands at a place for a unit, and which unit of it.
function placed(expressions, at, unit) {
  const one = expressions[at];
  return one.kind === 'at' ? placed(expressions, one.of[0], otherUnit(one.numbers, unit)) : [at, unit];
}

function innermost(expressions, one) {
  return one.kind === 'at' ? innermost(expressions, expressions[one.of[0]]) : one;
}

// Of an equation of several blocks that of the block that a unit is in, and the unit in that.
function blockOf(equation, unit) {
  if (!equation.blocks) return [equation, unit];
  const { blocks } = equation;
  let left = unit;
  let at = 0;
  for (; left >= blocks[at].units; at += 1) left -= blocks[at].units;
  return [blocks[at], left];
}

// Other units of numbers (steps, width), or blocks side by side: (steps, units).
function gathered(one, parts, count, units) {
  const result = new Float64Array(count * units);
  for (let step = 0; step < count; step += 1) {
    let start = step * units;
    for (const part of parts) {
      const row = part.subarray(step * (part.length / count), (step + 1) * (part.length / count));
      if (one.kind === 'packed') {
        result.set(row, start);
        start += row.length;
      } else for (let unit = 0; unit < units; unit += 1) result[start + unit] = row[otherUnit(one.numbers, unit)];
    }
  }
  return result;
}

function repeated(values, count) {
  const result = new Float64Array(values.length * count);
  for (let one = 0; one < count; one += 1) result.set(values, one * values.length);
  return result;
}

// The numbers of a layer at `count` kept steps from a place on: those of an expression at all of them, (steps, units),
// when one is first asked for. No step waits for another: each starts from what the engine gave at the one before.
function numbersOf(layer, place, count = 1) {
  const { expressions } = layer.derivable;
  const equations = equationsIn(layer.derivable);
  layer.units ??= unitsOf(layer);
  const known = [];
  const rows = ({ numbers, units }) => numbers.subarray(place * units, (place + count) * units);
  const evaluated = (one, units) => {
    if (one.kind === 'given') return rows(givenOf(layer, one.name));
    if (one.kind === 'gradient') return rows(gradientOf(layer, one.name));
    if (one.kind === 'quantity') return of(equations[one.name].at);
    if (one.kind === 'sum' && one.values) return rows(arrayOf(one.values));
    if (one.kind === 'parameter' && one.values) return repeated(unpacked(one.values), count);
    if (POOLED.includes(one.kind)) return pooledOver(one, one.of.map(of), count, units);
    if (one.kind === 'packed') return gathered(one, one.of.map(of), count, units);
    if (one.kind === 'at') return otherUnits(one, units);
    if (one.kind !== 'sum' && one.kind !== 'parameter') return applied(one, one.of.map(of), units * count);
    const weights = unpacked(data.weights[one.name].values);
    if (one.kind === 'parameter') return repeated(weights.subarray(one.row, one.row + units), count);
    return sumsOf(weights, one.row * data.weights[one.name].units, units, of(one.of[0]), count);
  };
  // Of a quantity of several blocks only the one is computed that the units are in: others may be made of it.
  function otherUnits(one, units) {
    const inner = expressions[one.of[0]];
    const equation = inner.kind === 'quantity' ? equations[inner.name] : {};
    if (!equation.blocks) return gathered(one, one.of.map(of), count, units);
    const [start, ...digits] = one.numbers;
    const [block, first] = blockOf(equation, start);
    return gathered({ ...one, numbers: [first, ...digits] }, [of(block.at)], count, units);
  }
  function of(at) {
    known[at] ??= evaluated(expressions[at], layer.units[at]);
    return known[at];
  }
  return of;
}

// The numbers of a layer at a step, by place of an expression and by name; null for a step that is not in the file.
function numbersAt(layer, step) {
  const { expressions } = layer.derivable;
  const place = placeIn(step);
  if (place < 0) return null;
  if (layer.numbers?.step === step) return layer.numbers;
  const vector = numbersOf(layer, place);
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
  const address = (whole, unit) => {
    const one = innermost(expressions, whole);
    if (one.kind === 'gradient') return `dL/d${one.name}[step ${step}, ${unit}]`;
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
  return ['sum', ...WHOLE].includes(one.kind) || !one.of.length ? [at] : one.of.flatMap((part) => leavesOf(expressions, part));
}
