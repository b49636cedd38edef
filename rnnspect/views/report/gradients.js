// The gradients of a loss: what a click on one opens, and how far they reach.

// The layer of the run whose gradients are in the file.
function withGradients(layer) {
  return counterpart(layer, data);
}

function gradientCommand(layer, quantity, step, unit) {
  const { said, asked } = data.loss;
  if (data.command === null) {
    const loss = asked === null ? '…' : `"${asked}"`;
    const place = `[${[data.item, step, unit].join(', ')}]`;
    const at = data.layers.indexOf(layer);
    const named = gateOf(quantity) ? `pre_activations["${gateOf(quantity)}"]` : `quantities["${quantity}"]`;
    return `rnnspect.gradients(source, x, …, loss=${loss}).layers[${at}].${named}${place}`;
  }
  const loss = asked === null ? said : /^[\w./:-]+$/.test(asked) ? asked : `'${asked.replaceAll("'", "'\\''")}'`;
  const place = [['layer', layer.layer], ['direction', layer.direction], ['step', step], ['batch-index', data.item], ['loss', loss]]
    .filter(([name, value]) => !(name === 'batch-index' && !value));
  return `rnnspect derive ${data.command} --gradient '${quantity}[${unit}]'${place.map(([name, value]) => ` --${name} ${value}`).join('')}`;
}

// In the order in which a layer goes back: from the last step to the first, and in reverse the other way.
function stepAfter(layer, step) {
  const after = step + (layer.direction === 'reverse' ? -1 : 1);
  return after >= 0 && after < data.length ? after : null;
}

function gradientButton(said, layer, quantity, step, unit) {
  const made = make('button', { type: 'button' }, said);
  made.addEventListener('click', () => deriveGradient(layer, quantity, step, unit));
  return made;
}

// The value that the gradient is by, and what the gradient is made from.
function gradientTurns(layer, quantity, step, unit) {
  const value = quantity in layer.derivable.equations ? [goButton(`the value of ${quantity}`, layer, quantity, step, unit)] : [];
  const states = ['h', 'c'].filter((name) => valuesOf(layer, name, 'gradient'));
  const at = (name, when) => gradientButton(`dL/d${name} at step ${when}`, layer, name, when, Math.min(unit, valuesOf(layer, name, 'gradient').units - 1));
  const after = stepAfter(layer, step);
  const own = [gateOf(quantity), preActivationOf(quantity)].filter(Boolean);
  const same = [...new Set([...own, ...states])].filter((name) => name !== quantity).map((name) => at(name, step));
  return [...value, ...same, ...(after === null ? [] : states.map((name) => at(name, after)))];
}

// What a gradient says: how much the loss changes with the number it is by.
function gradientMeaning(quantity, value) {
  if (Number.isNaN(value) || !Number.isFinite(value)) return 'It is not a finite number.';
  if (value === 0) return `Nothing of ${quantity} here reaches L.`;
  return `A small change δ of ${quantity} here changes L by about ${written(value, 3)} · δ.`;
}

// A gradient that the page derives from others, in words, in numbers, and step by step to its value.
function gradientLines(layer, quantity, step, unit) {
  const equation = layer.derivable.gradients?.[quantity];
  if (!equation) return null;
  const lines = equationLines(layer.derivable, equation, numbersAt(layer, step), unit);
  return make('div', { class: 'lines' }, ...lines.map((line) => make('div', {}, `= ${line}`)));
}

// A gradient, what it means, and the command that writes it as arithmetic.
function deriveGradient(asked, quantity, step, unit) {
  const layer = withGradients(asked);
  const view = valuesOf(layer, quantity, 'gradient');
  const value = view.at(step, unit);
  const item = data.items > 1 ? `, batch item ${data.item} of ${data.items}` : '';
  const both = quantity === 'x' && data.spec.bidirectional;
  const parts = [
    make('p', { class: 'lines' }, `dL/d${quantity}[step ${step}, ${unit}] = ${value === null ? numberWritten(view, step, unit) : written(value, 9)}`),
    gradientLines(layer, quantity, step, unit),
    gateOf(quantity) && make('p', { class: 'quiet' }, `${quantity} is the pre-activation of ${gateOf(quantity)}: what goes into its function.`),
    make('p', {}, value === null ? `This cell of the map is the range of ${counted(view.per_step, 'step')} × ${counted(view.per_unit, 'unit')}.` : gradientMeaning(quantity, value)),
    make('p', { class: 'quiet' }, `L is ${lossWritten()}. The equations computed this in ${data.spec.dtype}.`),
    both && make('p', { class: 'quiet' }, 'This is the part of this direction; dL/dx of the command is the sum over both directions.'),
  ].filter(Boolean);
  const command = data.command === '' ? [] : [make('h3', {}, data.command === null ? 'The same in Python' : 'How it is computed'),
    make('p', {}, make('code', { class: 'command' }, gradientCommand(layer, quantity, step, unit)))];
  opened(`dL/d${quantity} of layer ${layer.layer}, ${layer.direction}, at step ${step}, unit ${unit}${item}`,
    [...parts, ...command, make('h3', {}, 'Numbers beside it'), make('p', { class: 'turns' }, ...gradientTurns(layer, quantity, step, unit))]);
  now.quantity = quantity;
  now.shown = 'gradient';
  show(layer);
  move(step, quantity === 'x' ? null : unit);
}

// "the sum of the output = 0.25".
function lossWritten() {
  return `${data.loss.said} = ${written(numberOf(data.loss.value))}`;
}

// How far the gradient of a layer reaches, and why, where gradients are shown.
function reachSection(layer) {
  if (!layer.reach) return '';
  const { sentence, reasons, norms, factors } = layer.reach;
  const back = layer.direction === 'reverse' ? 'from the first step to the last' : 'from the last step to the first';
  const norm = curves('norm of the gradient', `Euclidean, over time; it goes ${back}`, curvesOf(layer, norms), null, true);
  const paths = curvesOf(layer, factors).map(({ name, view }) => ({ name: `through ${name}`, view }));
  const path = curves('what one step lets through', 'norm of what goes out to the step before, relative to what came in', paths, null, true);
  return make('div', { class: 'reach' },
    make('h3', {}, 'How far the gradient reaches'), make('p', {}, `${sentence}.`),
    make('p', { class: 'quiet' }, `L is ${lossWritten()}. The gradients are those of the equations; rnnspect check --backward checks an engine's gradients.`),
    make('div', { class: 'grid' }, norm.figure, path.figure),
    make('ul', { class: 'quiet' }, ...reasons.map((reason) => make('li', {}, reason))));
}
