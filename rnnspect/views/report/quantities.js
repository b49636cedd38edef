// What the quantities of a cell are, in words, and where their numbers can lie.

const NAMES = {
  lstm: { i: 'input gate', f: 'forget gate', g: 'candidate', o: 'output gate', c: 'cell state', h: 'hidden state' },
  gru: { r: 'reset gate', z: 'update gate', n: 'candidate', h: 'hidden state' },
  rnn: { h: 'hidden state' },
};

// The gate whose function takes this pre-activation, and the pre-activation of a gate; undefined of anything else.
const gateOf = (quantity) => data.gates[data.pre_activations.indexOf(quantity)];
const preActivationOf = (quantity) => data.pre_activations[data.gates.indexOf(quantity)];

// "forget gate" for the f of an LSTM; '' for what has no name of its own.
function nameOf(quantity) {
  if (quantity === 'x') return 'input';
  if (gateOf(quantity)) return `pre-activation of ${gateOf(quantity)}`;
  if (quantity === 'input_projection') return 'weight_ih_l0' in data.weights ? 'W_ih·x + b_ih' : 'what goes into the gates';
  return NAMES[data.spec.cell]?.[quantity] ?? '';
}

const LIMITS = { sigmoid: [0, 1], hard_sigmoid: [0, 1], tanh: [-1, 1], softsign: [-1, 1] };
const SIGNS = { sigmoid: 'σ', tanh: 'tanh', relu: 'relu', hard_sigmoid: 'hard σ' };

function expressionOf(layer, quantity) {
  const { expressions, equations } = layer.derivable;
  return equations[quantity] && expressions[equations[quantity].at];
}

// The sign of the function that a quantity is a value of: σ, tanh; '' where it is none.
function signOf(one) {
  return one && one.kind in operations && one.of.length === 1 ? SIGNS[one.kind] ?? one.kind.replaceAll('_', ' ') : '';
}

// [0, 1] for a gate behind a σ, [-1, 1] behind a tanh, null for what has no limits.
function limitsOf(layer, quantity) {
  const one = expressionOf(layer, quantity);
  if (!one) return null;
  const rest = one.kind === '−' && layer.derivable.expressions[one.of[0]].kind === 'number';
  return rest ? [0, 1] : LIMITS[one.kind] ?? null; // f = 1 − i
}
