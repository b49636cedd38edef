// A cell as the textbooks draw it, with the numbers of a step and a unit on its arrows: a function for each kind.

// The numbers of one step and unit of a layer as a drawing asks for them; null for one that the file does not hold.
function drawnNumbers(layer, step, unit) {
  const { expressions, equations } = layer.derivable;
  const numbers = numbersAt(layer, step);
  const hidden = Math.min(unit, data.spec.hidden_size - 1);
  const value = (at, one) => (numbers && at !== undefined && at >= 0 ? numbers.value(at, one) : null);
  // ('c', 0) is the first operand of c.
  const place = (quantity, path) => path.reduce((at, turn) => expressions[at]?.of[turn], equations[quantity].at);
  const of = (quantity) => Math.min(unit, valuesOf(layer, quantity, 'equations').units - 1);
  return {
    quantity: (name) => (numbers ? numbers.quantity(name, of(name)) : null),
    part: (name, ...path) => value(place(name, path), hidden),
    // What the engine gave for h.
    got: () => (numbers ? numbers.engine('h', of('h')) : null),
    // Of a sum with r ⊙ (W_hn·h + b_hn) in it what r is multiplied with.
    factor: (name) => {
      const product = sumOf(layer, name).of.find((at) => expressions[at].kind === '·');
      return value(expressions[product]?.of[1], hidden);
    },
    before: (name) => value(expressions.findIndex((one) => one.kind === 'given' && one.name === name), of(name)),
    // What the parameters whose names begin so add to a sum: "ih" for W_ih·x + b_ih.
    share: (name, which) => {
      const parts = sumOf(layer, name).of.filter((at) => expressions[at].name.includes(`_${which}_`));
      return numbers ? total(parts.map((part) => value(part, hidden))) : null;
    },
  };
}

// The sum that a gate's function is of, without the limit of a clip.
function sumOf(layer, name) {
  const { expressions } = layer.derivable;
  const inner = expressions[expressionOf(layer, name).of[0]];
  return inner.kind === 'limit' ? expressions[inner.of[0]] : inner;
}

const FLOOR = 315;

// h as it leaves the cell, and what the engine gave for it.
function ended(d, layer, y) {
  d.number(618, y - 8, 'h′', (n) => n.quantity('h'));
  if (valuesOf(layer, 'h', 'engine')) d.number(618, y + 17, 'got', (n) => n.got(), 'quiet');
}

// What every cell has: its body, and x coming in along the bottom as far as `end`.
function begun(d, layer, end, top = 40) {
  d.body(88, top, 524, 340 - top);
  d.wire([[110, 385], [110, FLOOR]], { arrow: false });
  d.dot(110, FLOOR);
  d.wire([[110, FLOOR], [end, FLOOR]], { arrow: false });
  d.text(118, 378, `x: ${counted(valuesOf(layer, 'x', 'equations').units, 'number')}`, { class: 'quiet' });
}

function gateBox(d, layer, name, x, y, sign = signOf(expressionOf(layer, name))) {
  const words = nameOf(name);
  d.box(x, y, sign, {
    below: name === 'h' ? '' : words.split(' ')[0],
    title: `${name}, the ${words}: click to see how it was computed`,
    press: () => derive(layer, name, now.step, Math.min(now.unit, valuesOf(layer, name, 'equations').units - 1)),
    limits: limitsOf(layer, name),
    of: (numbers) => numbers.quantity(name),
  });
}

function lstmDrawing(d, layer) {
  const { peepholes, input_forget: coupled } = data.spec;
  const [f, i, g, o] = [180, 275, 370, 480];
  const [top, gates, meet] = [80, 230, 150];
  begun(d, layer, o);
  d.wire([[4, FLOOR], [110, FLOOR]], { arrow: false });
  d.number(4, FLOOR - 8, 'h', (n) => n.before('h'));
  d.number(4, top - 8, 'c', (n) => n.before('c'));
  if (peepholes) peepholeWires(d, { f: coupled ? null : f, i, o, top });
  // Into the gates: beside each arrow the sum W x + b + W h + b.
  (coupled ? [i, g, o] : [f, i, g, o]).forEach((x) => d.wire([[x, FLOOR], [x, gates + 22]], { dot: x !== o }));
  if (coupled) d.wire([[i - 30, gates], [f + 32, gates]]);
  for (const [name, x] of [['f', f], ['i', i], ['g', g], ['o', o]]) {
    const rest = name === 'f' && coupled;
    if (!rest) d.number(x + 6, 290, '', (n) => n.part(name, 0), 'quiet');
    gateBox(d, layer, name, x, gates, ...(rest ? ['1 − i'] : []));
    if (name !== 'o') d.number(x + 6, 196, name, (n) => n.quantity(name));
  }
  // c along the top: what is kept of it, and what is written into it.
  d.wire([[4, top], [f - 14, top]]);
  d.wire([[f, gates - 20], [f, top + 14]]);
  d.wire([[i, gates - 20], [i, meet], [g - 14, meet]]);
  d.wire([[g, gates - 20], [g, meet + 14]]);
  d.wire([[g, meet - 12], [g, top + 14]]);
  d.wire([[f + 12, top], [g - 14, top]]);
  d.wire([[g + 12, top], [708, top]]);
  d.operator(f, top, '⊙', 'what is kept of c');
  d.operator(g, meet, '⊙', 'what is written into c');
  d.operator(g, top, '+', 'the new c');
  d.number(f + 20, top - 8, 'f ⊙ c', (n) => n.part('c', 0));
  d.number(g - 8, 120, 'i ⊙ g', (n) => n.part('c', 1), 'end');
  d.number(618, top - 8, 'c′', (n) => n.quantity('c'));
  lstmOutput(d, layer, o, top, gates);
}

// h is o ⊙ tanh(c), or with a projection W_hr times that.
function lstmOutput(d, layer, o, top, gates) {
  const { expressions } = layer.derivable;
  const projected = data.spec.proj_size > 0;
  const whole = expressionOf(layer, 'h');
  const product = projected ? expressions[whole.of[0]] : whole;
  const x = 560;
  d.wire([[x, top], [x, 123]], { dot: true });
  d.box(x, 145, signOf(expressions[product.of[1]]), { wide: 46, title: 'of the new c' });
  d.wire([[x, 165], [x, gates - 14]]);
  d.wire([[o + 30, gates], [x - 14, gates]]);
  d.operator(x, gates, '⊙', 'what is shown of c');
  d.number(x + 6, 190, '', (n) => n.part('h', ...(projected ? [0] : []), 1), 'quiet');
  d.number(o - 26, 200, 'o', (n) => n.quantity('o'));
  if (projected) {
    d.wire([[x, gates + 12], [x, 256]]);
    d.box(x, 278, 'W_hr', { wide: 46, title: 'the projection: h is W_hr times o ⊙ tanh(c)' });
  }
  d.wire([[x, projected ? 298 : gates + 12], [x, FLOOR], [708, FLOOR]]);
  ended(d, layer, FLOOR);
}

// i and f see c as it was, o the new one.
function peepholeWires(d, { f, i, o, top }) {
  d.wire([[125, top], [125, 264], [i - 18, 264], [i - 18, 252]], { dashed: true, dot: true });
  if (f) d.wire([[f - 18, 264], [f - 18, 252]], { dashed: true });
  d.wire([[448, top], [448, 264], [o - 18, 264], [o - 18, 252]], { dashed: true, dot: true });
  d.text(130, 258, 'c', { class: 'quiet' });
  d.text(428, 140, 'c′', { class: 'quiet' });
}

function gruDrawing(d, layer) {
  const after = data.spec.reset === 'after';
  const [z, r, n, add] = [180, 280, 480, 560];
  const [top, gates, meet, mix] = [80, 250, 195, 140];
  begun(d, layer, n);
  d.wire([[4, top], [430 - 14, top]]);
  d.wire([[110, top], [110, FLOOR]], { arrow: false, dot: true });
  d.number(4, top - 8, 'h', (one) => one.before('h'));
  for (const [name, x] of [['z', z], ['r', r]]) {
    d.wire([[x, FLOOR], [x, gates + 22]], { dot: true });
    d.number(x + 6, 300, '', (one) => one.part(name, 0), 'quiet');
    gateBox(d, layer, name, x, gates);
  }
  resetWires(d, after, r, gates, meet);
  d.wire([[n, FLOOR], [n, meet + 22]]);
  d.number(n + 6, 300, 'W_in·x+b', (one) => one.share('n', 'ih'), 'quiet');
  gateBox(d, layer, 'n', n, meet);
  // Between what h was and what n is: z says how much of h is kept.
  d.wire([[z, gates - 20], [z, mix], [430, mix], [430, top + 14]]);
  d.wire([[430, mix], [452, mix]], { dot: true });
  d.box(480, mix, '1 − z', { wide: 54, title: 'how much of n is taken' });
  d.wire([[507, mix], [add - 14, mix]]);
  d.wire([[n + 30, meet], [add, meet], [add, mix + 14]]);
  d.wire([[add, mix - 12], [add, top + 14]]);
  d.wire([[430 + 12, top], [add - 14, top]]);
  d.wire([[add + 12, top], [708, top]]);
  d.operator(430, top, '⊙', 'what is kept of h');
  d.operator(add, mix, '⊙', 'what is taken of n');
  d.operator(add, top, '+', 'the new h');
  d.number(z + 6, mix - 8, 'z', (one) => one.quantity('z'));
  d.number(r + 6, meet - 8, 'r', (one) => one.quantity('r'));
  d.number(add - 44, meet + 30, 'n', (one) => one.quantity('n'));
  ended(d, layer, top);
}

// r after the product with h, or before it.
function resetWires(d, after, r, gates, meet) {
  const [times, matrix] = after ? [390, [390, 255]] : [352, [405, meet]];
  d.wire([[r, gates - 20], [r, meet], [times - 14, meet]]);
  d.wire([[times, FLOOR], [times, after ? 277 : meet + 14]], { dot: true });
  if (after) d.wire([[times, 235], [times, meet + 14]]);
  d.wire(after ? [[times + 12, meet], [448, meet]] : [[times + 12, meet], [378, meet]]);
  if (!after) d.wire([[432, meet], [448, meet]]);
  d.box(...matrix, 'W_hn', { below: after ? 'h + b' : '', wide: 52, title: after ? 'W_hn·h + b_hn' : 'W_hn·(r ⊙ h) + b_hn' });
  d.operator(times, meet, '⊙', after ? 'r acts after the product W_hn·h' : 'r acts on h, before the product with W_hn');
  if (after) d.number(396, 228, '', (n) => n.factor('n'), 'quiet');
  else d.number(378, meet - 26, '', (n) => n.share('n', 'hh'), 'quiet');
}

function rnnDrawing(d, layer) {
  const [add, phi, middle] = [250, 400, 190];
  begun(d, layer, add, 120);
  d.wire([[4, middle], [add - 14, middle]]);
  d.wire([[add, FLOOR], [add, middle + 14]]);
  d.wire([[add + 12, middle], [phi - 32, middle]]);
  d.wire([[phi + 30, middle], [708, middle]]);
  d.operator(add, middle, '+', 'W_ih·x + b_ih + W_hh·h + b_hh');
  gateBox(d, layer, 'h', phi, middle);
  d.number(4, middle - 8, 'h', (n) => n.before('h'));
  d.number(96, middle + 18, 'W_hh·h + b', (n) => n.share('h', 'hh'), 'quiet');
  d.number(add + 8, 270, 'W_ih·x + b', (n) => n.share('h', 'ih'), 'quiet');
  d.number(add + 18, middle - 8, '', (n) => n.part('h', 0), 'quiet');
  ended(d, layer, middle);
}

// A cell of somebody's own: a box for each of its quantities, in the order of its lines. What goes from one to another
// is in the equations beside it.
function anyDrawing(d, layer) {
  const { given } = layer.kept;
  const names = Object.keys(layer.derivable.equations).filter((name) => !(name in given));
  const rows = Math.max(1, Math.ceil(names.length / 6));
  const columns = Math.ceil(names.length / rows);
  const high = (FLOOR - 60) / rows;
  begun(d, layer, 590);
  const isRead = (name) => layer.derivable.expressions.some((one) => one.kind === 'given' && one.name === name);
  Object.keys(given).filter((name) => name !== 'x' && isRead(name)).forEach((name, at) => {
    const y = name === 'h' ? FLOOR : 80 + 40 * at;
    d.wire([[4, y], [88, y]]);
    d.number(4, y - 8, name, (n) => n.before(name));
  });
  names.forEach((name, at) => {
    const x = 110 + (480 / columns) * ((at % columns) + 0.5);
    const y = 75 + high * (Math.floor(at / columns) + 0.5);
    gateBox(d, layer, name, x, y, signOf(expressionOf(layer, name)) || name);
    d.number(x - 30, y - 28, name, (n) => n.quantity(name));
  });
  if ('c' in given) {
    d.wire([[612, 80], [708, 80]]);
    d.number(618, 72, 'c′', (n) => n.quantity('c'));
  }
  d.wire([[590, FLOOR], [708, FLOOR]]);
  ended(d, layer, FLOOR);
}

const DRAWINGS = { lstm: lstmDrawing, gru: gruDrawing, rnn: rnnDrawing };

function cellDrawing(layer) {
  const label = `${data.shapes.module.split('(')[0]} cell of ${placeOf(layer)}. The equations beside it hold the same numbers.`;
  const drawing = sketch(716, 400, label);
  (DRAWINGS[data.spec.cell] ?? anyDrawing)(drawing, layer);
  return { picture: drawing.picture, follow: () => drawing.follow(drawnNumbers(layer, now.step, now.unit)) };
}
