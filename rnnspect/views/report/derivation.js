// What a click on a number opens: how it was computed.

const MOST = 8;

// A quantity in words, in numbers, and step by step to its value.
function linesOf(derivable, numbers, quantity, unit) {
  return equationLines(derivable, derivable.equations[quantity], numbers, unit);
}

function equationLines({ expressions }, equation, numbers, whole) {
  const [{ words, levels }, unit] = blockOf(equation, whole);
  const numbered = levels.map((level) => filled(level, (at) => written(numbers.value(at, unit), 9)));
  const named = (at) => {
    const [inner, other] = placed(expressions, at, unit);
    return numbers.address(expressions[inner], other);
  };
  return [filled(words, named), ...numbered];
}

// The largest products of a sum, and what the others come to; the sum alone where the weights are not in the file.
function productsOf(layer, numbers, at, unit) {
  const { expressions } = layer.derivable;
  const sum = expressions[at];
  const each = filled(sum.each, (inner) => numbers.address(expressions[inner], 'k'));
  const title = make('p', { class: 'sum' }, `Σ ${sum.name}[${sum.row + unit}, k] · ${
    sum.vector.includes(' ') ? `(${each})` : each} = ${written(numbers.value(at, unit), 9)}`);
  if (sum.values) return [title, make('p', { class: 'quiet' }, `The weights are too large for this file.${
    hasCommand(layer) ? ' The command below shows the products.' : ''}`)];
  const size = (one) => (Number.isNaN(one.product) ? Infinity : Math.abs(one.product));
  const all = numbers.products(sum, unit).sort((one, other) => size(other) - size(one) || one.k - other.k);
  const shown = all.length > MOST + 1 ? MOST : all.length;
  const rows = all.slice(0, shown).map((one) => [one.k, written(one.w, 9), written(one.v, 9), written(one.product, 9)]);
  if (shown < all.length) {
    const rest = total(all.slice(shown).map((one) => one.product));
    rows.push(['…', `${all.length - shown} more`, 'together', written(rest, 9)]);
  }
  return [title, table(['k', 'w', sum.vector, 'product'], rows, { box: 'sideways', class: 'products' })];
}

// Whether a command derives the numbers of a layer: not those of a recording.
function hasCommand(layer) {
  return layer.run === data && !data.recorded;
}

function commandFor(layer, quantity, step, unit) {
  const place = [['layer', layer.layer], ['direction', layer.direction], ['step', step], ['unit', unit],
    ['quantity', quantity], ['batch-index', data.item]].filter(([name, value]) => name !== 'batch-index' || value);
  if (data.command !== null) return `rnnspect derive ${data.command}${place.map(([name, value]) => ` --${name} ${value}`).join('')}`;
  const said = place.map(([name, value]) => `${name.replace('-', '_')}=${typeof value === 'string' ? `"${value}"` : value}`);
  return `rnnspect.derive(source, x, …, ${said.join(', ')})`;
}

// What of the allowed difference a difference is.
function shareOf(ratio) {
  if (ratio <= 1) return `${written(100 * ratio, 2)} % of it`;
  return Number.isFinite(ratio) ? `${written(ratio, 3)} times as large` : 'infinitely many times as large';
}

function comparison(layer, numbers, quantity, unit) {
  const { name, verdict } = layer.run;
  const manual = numbers.quantity(quantity, unit);
  const lines = [`equations: ${written(manual, 9)}`];
  if (valuesOf(layer, quantity, 'engine')) {
    const given = numbers.engine(quantity, unit);
    const difference = apart(given, manual);
    lines.push(`${name}: ${written(given, 9)}`, `difference: ${written(difference, 3)} (${name} − equations)`);
    const bound = quantity === 'h' ? numbers.bound(unit) : null;
    if (bound === Infinity) lines.push('This value cannot be checked.');
    else if (bound !== null) {
      lines.push(`allowed: ${written(bound, 3)} in ${verdict.arithmetic}, as in a check; the difference is ${
        shareOf(ratioOf(difference, bound))}`);
    }
  } else lines.push(`${name} does not show it`);
  return make('ul', { class: 'beside' }, ...lines.map((line) => make('li', {}, line)));
}

// What the step starts from.
function startOf(layer, { before }) {
  const states = Object.keys(layer.kept.given).filter((name) => name !== 'x');
  if (before === null) return `Starts from the initial state, ${states.map((name) => `${name}0`).join(' and ')}.`;
  if (!layer.kept.bound) return `Starts from step ${before} of the equations: ${layer.run.name} does not show this layer.`;
  const c = states.includes('c') ? `, and from c of the equations` : '';
  return `Starts from h that ${layer.run.name} gave at step ${before}${c}, as in a check.`;
}

function goButton(said, layer, quantity, step, unit) {
  const button = make('button', { type: 'button' }, said);
  button.addEventListener('click', () => derive(layer, quantity, step, unit));
  return button;
}

function turns(layer, { before }, step, unit) {
  const there = Object.keys(layer.kept.given).filter((name) => name !== 'x' && before !== null);
  const states = there.map((name) => (
    goButton(`${name} at step ${before}`, layer, name, before, Math.min(unit, givenOf(layer, name).units - 1))));
  const below = layer.run.layers.filter((one) => one.layer === layer.layer - 1).map((one) => goButton(
    `h of ${placeOf(one)}, step ${step}`, one, 'h', step, Math.min(unit, valuesOf(one, 'h', 'equations').units - 1)));
  if (!states.length && !below.length) return [];
  return [make('h3', {}, 'Numbers that it uses'), make('p', { class: 'turns' }, ...states, ...below)];
}

// The quantity, then those of the same step that it needs one unit of, and so on: each in lines, with its sums and
// parameters.
function* equationsOf(layer, numbers, quantity, unit) {
  const { expressions, equations } = layer.derivable;
  const waiting = [[quantity, unit]];
  for (const [name, whole] of waiting) {
    yield make('h3', {}, numbers.address({ kind: 'quantity', name }, whole));
    const [equation, own] = blockOf(equations[name], whole);
    const line = equation.written ?? data.written[name];
    if (line) yield make('p', { class: 'quiet mono' }, line);
    const lines = linesOf(layer.derivable, numbers, name, whole);
    yield make('div', { class: 'lines' }, ...lines.map((one) => make('div', {}, `= ${one}`)));
    const leaves = leavesOf(expressions, equation.at).map((at) => placed(expressions, at, own));
    const ofKind = (kind) => leaves.filter(([at]) => expressions[at].kind === kind);
    for (const [at, other] of ofKind('sum')) yield* productsOf(layer, numbers, at, other);
    for (const [at, other] of [...ofKind('mean'), ...ofKind('deviation')]) {
      yield make('p', { class: 'sum' }, `${expressions[at].said} = ${written(numbers.value(at, other), 9)}`);
    }
    for (const [at, other] of ofKind('parameter')) {
      const one = expressions[at];
      yield make('p', { class: 'sum' }, `${one.name}[${one.row + other}] = ${written(numbers.value(at, other), 9)}`);
    }
    const needed = new Map();
    for (const [at, other] of ofKind('quantity')) {
      const { name: one } = expressions[at];
      needed.set(one, (needed.get(one) ?? new Set()).add(other));
    }
    for (const [one, units] of needed) {
      const [other] = units;
      if (units.size === 1 && !waiting.some(([known, at]) => known === one && at === other)) waiting.push([one, other]);
    }
  }
}

// Shows parts below a title, and a button that closes them.
function opened(title, parts) {
  const dialog = document.getElementById('derivation');
  const close = make('button', { type: 'button', class: 'close', 'aria-label': 'Close' }, '×');
  close.addEventListener('click', () => dialog.close());
  dialog.replaceChildren(make('div', { class: 'bar' }, make('h2', { id: 'derived' }, title), close), ...parts);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

// The derivation of a number, or where to get it.
function derive(layer, quantity, step, unit) {
  const title = `${quantity} of layer ${layer.layer}, ${layer.direction}, at step ${step}, unit ${unit}`;
  const item = data.items > 1 ? `, batch item ${data.item} of ${data.items}` : '';
  const parts = [];
  const numbers = quantity in layer.derivable.equations ? numbersAt(layer, step) : null;
  const command = make('code', { class: 'command' }, commandFor(layer, quantity, step, unit));
  if (numbers === null) parts.push(...elsewhere(layer, quantity, step, unit, command));
  else {
    parts.push(make('p', { class: 'quiet' }, startOf(layer, numbers)), ...equationsOf(layer, numbers, quantity, unit),
      make('h3', {}, `Comparison with ${layer.run.name}`), comparison(layer, numbers, quantity, unit), ...turns(layer, numbers, step, unit));
    if (hasCommand(layer)) parts.push(make('h3', {}, 'The same on the command line'), make('p', {}, command));
  }
  opened(title + item, parts);
  now.quantity = quantity;
  now.shown = null;
  show(layer);
  move(step, unit);
}

// What a step that is not in the file opens: the command that gives it.
function elsewhere(layer, quantity, step, unit, command) {
  const { kept } = data;
  const near = [...kept].sort((one, other) => Math.abs(one - step) - Math.abs(other - step)).slice(0, 3).sort((a, b) => a - b);
  const again = `ake the report again with --steps ${step}`;
  const how = !hasCommand(layer) ? [make('p', {}, `Step ${step} is not included. M${again}.`)]
    : [make('p', {}, `Step ${step} is not included. Run:`), make('p', {}, command), make('p', { class: 'quiet' }, `Or m${again}.`)];
  return [
    ...how,
    make('p', { class: 'quiet' }, included()),
    make('h3', {}, 'The nearest steps that are included'),
    make('p', { class: 'turns' }, ...near.map((one) => goButton(`step ${one}`, layer, quantity, one, unit))),
  ];
}
