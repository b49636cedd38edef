// A number as arithmetic, from what Python exported for the kept steps; nothing here computes but for the products.

const functionNames = { sigmoid: 'σ' };
const SUM = 1;
const PRODUCT = 2;
const ALONE = 3;

// One address at a kept step, and how the numbers in its arithmetic are found.
function addressed(layer, quantity, step, unit) {
  const kept = layer.derivable.steps.indexOf(step);
  if (kept < 0 || !(quantity in layer.derivable.nodes)) return null;
  const order = layer.direction === 'reverse' ? data.length - 1 - step : step;
  const before = order === 0 ? null : step + (layer.direction === 'reverse' ? 1 : -1);
  const of = (array, ...places) => {
    let at = 0;
    array.shape.forEach((size, axis) => { at = at * size + (places[axis] || 0); });
    return unpacked(array)[at];
  };
  const { values, vectors } = layer.derivable;
  const vector = (name, k) => of(vectors[name], kept, k);
  const value = (name, at, k = unit) => of(values[name], kept, k, at);
  const parameter = (name, row) => {
    const picture = data.weights[name];
    return picture && picture.values ? unpacked(picture.values)[row] : null;
  };
  // As in rnnspect derive: a state before the first step is h0 or c0, at its own place.
  const named = (name, k) => {
    if (!name.startsWith('before ')) return `${name}[step ${step}, ${k}]`;
    const state = name.slice('before '.length);
    return before === null ? `${state}0[${[...layer.place, k].join(', ')}]` : `${state}[step ${before}, ${k}]`;
  };
  const valueOf = (node, name) => {
    if (node.at !== null) return value(name, node.at);
    if (node.kind === 'parameter') return parameter(node.name, node.row + unit);
    return node.name in vectors ? vector(node.name, unit) : value(node.name, 0);
  };
  return { layer, quantity, step, unit, kept, before, vector, value, named, valueOf, of };
}

function shortName(node) {
  if (node.kind === 'parameter') return node.name.startsWith('bias') ? 'b' : 'p';
  return node.name.replace('before ', '');
}

// A term written out, down to what `leaf` has a text for; [text, how strongly it holds together].
function term(node, leaf) {
  if (node.kind === 'sum') {
    const vector = term(node.of[0], (one) => (one.kind === 'unit' ? shortName(one) : null))[0];
    return [vector.includes(' ') ? `Σ w·(${vector})` : `Σ w·${vector}`, ALONE];
  }
  if ('+·−'.includes(node.kind)) {
    const strength = node.kind === '·' ? PRODUCT : SUM;
    const texts = node.of.map((one, at) => {
      const known = leaf(one);
      const [text, own] = known === null ? term(one, leaf) : [known, ALONE];
      const loose = own < strength || (own === strength && at > 0);
      return loose || (text.startsWith('-') && node.kind === '−' && at > 0) ? `(${text})` : text;
    });
    return [texts.join(` ${node.kind} `), strength];
  }
  if (node.of.length) {
    const known = leaf(node.of[0]);
    const inside = [known === null ? term(node.of[0], leaf)[0] : known, ...node.numbers];
    return [`${functionNames[node.kind] || node.kind}(${inside.join(', ')})`, ALONE];
  }
  return [node.kind === 'number' ? '1' : shortName(node), ALONE];
}

function isLeaf(node) {
  return node.kind === 'unit' || node.kind === 'parameter' || node.kind === 'sum' || node.kind === 'number';
}

function heightOf(node) {
  return isLeaf(node) ? 0 : Math.max(...node.of.map((one) => 1 + heightOf(one)));
}

// In words, in numbers, and step by step to its value.
function linesOf(address, quantity) {
  const node = address.layer.derivable.nodes[quantity];
  const words = term(node, (one) => {
    if (one.kind === 'unit') return address.named(one.name, address.unit);
    return one.kind === 'parameter' ? shortName(one) : null;
  })[0];
  const lines = [words];
  const number = (one) => written(address.valueOf(one, quantity), 9);
  for (let level = 0; level < heightOf(node); level += 1) {
    lines.push(term(node, (one) => (heightOf(one) <= level ? number(one) : null))[0]);
  }
  return [...lines, number(node)];
}

function sumsOf(node) {
  return node.kind === 'sum' ? [node] : node.of.flatMap(sumsOf);
}

function parametersOf(node) {
  return node.kind === 'parameter' ? [node] : node.kind === 'sum' ? [] : node.of.flatMap(parametersOf);
}

const MOST = 8;

// The largest products of a sum, and what the others come to; the sum alone where the weights are not in the file.
function products(address, quantity, node) {
  const inside = node.of[0];
  const isNamed = inside.kind === 'unit';
  const vector = isNamed ? inside.name : `${quantity} ${node.at}`;
  const row = node.row + address.unit;
  const each = isNamed ? address.named(inside.name, 'k') : `(${term(inside, (one) => (
    one.kind === 'unit' ? address.named(one.name, 'k') : null))[0]})`;
  const sum = address.value(quantity, node.at);
  const title = make('p', { class: 'sum' }, `Σ ${node.name}[${row}, k] · ${each} = ${written(sum, 9)}`);
  const picture = data.weights[node.name];
  if (!picture.values) return [title, make('p', { class: 'quiet' }, 'Its products are not in this file: see below.')];
  const weights = unpacked(picture.values);
  const all = [...Array(picture.units).keys()].map((k) => {
    const w = weights[row * picture.units + k];
    const v = inside.kind === 'unit' && !(vector in address.layer.derivable.vectors)
      ? address.value(vector, 0, k) : address.vector(vector, k);
    return { k, w, v, product: w * v };
  });
  const size = (one) => (Number.isNaN(one.product) ? Infinity : Math.abs(one.product));
  all.sort((one, other) => size(other) - size(one) || one.k - other.k);
  const shown = all.length > MOST + 1 ? all.slice(0, MOST) : all;
  const body = make('tbody', {}, ...shown.map((one) => make('tr', {},
    ...[one.k, written(one.w, 9), written(one.v, 9), written(one.product, 9)].map((cell) => make('td', {}, String(cell))))));
  if (shown.length < all.length) {
    const rest = all.slice(MOST).reduce((total, one) => total + one.product, 0);
    const cells = ['…', `${all.length - MOST} more`, 'together', written(rest, 9)];
    body.append(make('tr', {}, ...cells.map((cell) => make('td', {}, cell))));
  }
  const named = term(inside, (one) => (one.kind === 'unit' ? shortName(one) : null))[0];
  const names = ['k', 'w', named, 'product'].map((name) => make('th', { scope: 'col' }, name));
  const listed = make('table', { class: 'products' }, make('thead', {}, make('tr', {}, ...names)), body);
  return [title, make('div', { class: 'sideways' }, listed)];
}

function commandFor(layer, quantity, step, unit) {
  const place = [['layer', layer.layer], ['direction', layer.direction], ['step', step], ['unit', unit],
    ['quantity', quantity], ['batch-index', data.item]].filter(([name, value]) => name !== 'batch-index' || value);
  if (data.command !== null) return `rnnspect derive ${data.command}${place.map(([name, value]) => ` --${name} ${value}`).join('')}`;
  const said = place.map(([name, value]) => `${name.replace('-', '_')}=${typeof value === 'string' ? `"${value}"` : value}`);
  return `rnnspect.derive(source, x, …, ${said.join(', ')})`;
}

function beside(address) {
  const engine = data.engine.name;
  const { layer, quantity, unit, kept } = address;
  const manual = address.value(quantity, 0);
  const lines = [`the equations: ${written(manual, 9)}`];
  if (quantity === 'h' && layer.beside) {
    const given = address.of(layer.beside.engine, kept, unit);
    const bound = address.of(layer.beside.bound, kept, unit);
    const apart = Object.is(given, manual) || (Number.isNaN(given) && Number.isNaN(manual)) ? 0 : given - manual;
    lines.push(`${engine}: ${written(given, 9)}`, `difference: ${written(apart, 3)}, ${engine} minus equations`,
      `bound: ${written(bound, 3)} in ${data.verdict.arithmetic}, as in a check; the difference is ${
        written(apart ? Math.abs(apart) / bound : 0, 3)} of it`);
  } else if (!mapOf(layer, quantity, 'engine')) {
    lines.push(`${engine} does not show it`);
  }
  return make('ul', { class: 'beside' }, ...lines.map((line) => make('li', {}, line)));
}

function goButton(said, layer, quantity, step, unit) {
  const button = make('button', { type: 'button' }, said);
  button.addEventListener('click', () => derive(layer, quantity, step, unit));
  return button;
}

function turns(address) {
  const { layer, step, unit, before } = address;
  const buttons = [];
  if (before !== null) {
    data.gates.length && ['h', 'c'].filter((name) => `before ${name}` in layer.derivable.vectors).forEach((name) => {
      const widest = layer.derivable.vectors[`before ${name}`].shape[1];
      buttons.push(goButton(`${name} at step ${before}`, layer, name, before, Math.min(unit, widest - 1)));
    });
  }
  data.layers.filter((one) => one.layer === layer.layer - 1).forEach((below) => {
    buttons.push(goButton(`h of ${placeOf(below)}, step ${step}`, below, 'h', step, Math.min(unit, mapOf(below, 'h', 'equations').picture.units - 1)));
  });
  return buttons.length ? [make('h3', {}, 'In turn'), make('p', { class: 'turns' }, ...buttons)] : [];
}

// What a click opens: the derivation, or where to get it.
function derive(layer, quantity, step, unit) {
  const dialog = document.getElementById('derivation');
  const title = `${quantity} of layer ${layer.layer}, ${layer.direction}, at step ${step}, unit ${unit}`;
  const item = data.items > 1 ? `, batch item ${data.item} of ${data.items}` : '';
  const close = make('button', { type: 'button', class: 'close', 'aria-label': 'Close' }, '×');
  close.addEventListener('click', () => dialog.close());
  const parts = [make('div', { class: 'bar' }, make('h2', { id: 'derived' }, title + item), close)];
  const address = addressed(layer, quantity, step, unit);
  const command = make('code', { class: 'command' }, commandFor(layer, quantity, step, unit));
  if (address === null) parts.push(...elsewhere(layer, quantity, step, unit, command));
  else {
    const shown = layer.beside ? `h of the step before as ${engineName} gave it`
      : `${whoShows} shows nothing of this layer: all of it is from the equations`;
    const from = address.before === null ? 'from the initial state' : shown;
    parts.push(make('p', { class: 'quiet' }, from));
    const waiting = [quantity];
    for (const name of waiting) {
      const node = layer.derivable.nodes[name];
      const lines = linesOf(address, name);
      parts.push(make('h3', {}, address.named(name, unit)));
      if (data.written[name]) parts.push(make('p', { class: 'quiet mono' }, data.written[name]));
      parts.push(make('div', { class: 'lines' }, ...lines.map((line) => make('div', {}, `= ${line}`))));
      sumsOf(node).forEach((sum) => parts.push(...products(address, name, sum)));
      parametersOf(node).forEach((one) => parts.push(make('p', { class: 'sum' },
        `${one.name}[${one.row + unit}] = ${written(address.valueOf(one, name), 9)}`)));
      const names = (one) => (one.kind === 'unit' ? [one.name] : one.kind === 'sum' ? [] : one.of.flatMap(names));
      waiting.push(...new Set(names(node).filter((one) => one in layer.derivable.nodes && !waiting.includes(one))));
    }
    parts.push(make('h3', {}, 'Beside the engine'), beside(address), ...turns(address));
    if (!data.recorded) parts.push(make('h3', {}, 'The same on the command line'), make('p', {}, command));
  }
  dialog.replaceChildren(...parts);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  move(step, unit);
}

function elsewhere(layer, quantity, step, unit, command) {
  const kept = layer.derivable.steps;
  const near = [...kept].sort((one, other) => Math.abs(one - step) - Math.abs(other - step)).slice(0, 3).sort((a, b) => a - b);
  const again = `make the report again with --steps ${step}`;
  const how = data.recorded ? [make('p', {}, `It is of a recording: ${again}.`)]
    : [make('p', {}, 'This gives it:'), make('p', {}, command), make('p', { class: 'quiet' }, `Or ${again}.`)];
  return [
    make('p', {}, `This file keeps derivations of ${counted(kept.length, 'step')} of ${data.length.toLocaleString('en')}; step ${step} is none of them.`),
    ...how,
    make('h3', {}, 'The nearest steps that are kept'),
    make('p', { class: 'turns' }, ...near.map((one) => goButton(`step ${one}`, layer, quantity, one, unit))),
  ];
}
