// The answer at the top of the page: what was found, where, why, and what to do next.

function times(ratio) {
  const number = numberOf(ratio);
  return Number.isFinite(number) ? `${number.toLocaleString('en', { maximumFractionDigits: 1 })} ×` : 'infinitely many times';
}

function share(ratio) {
  const number = numberOf(ratio);
  return Number.isFinite(number) ? `${(number * 100).toLocaleString('en', { maximumSignificantDigits: 2 })} %` : '?';
}

// An error or a bound: 8.0e-7.
function tiny(value) {
  return Number.isFinite(value) ? Math.abs(value).toExponential(1) : written(value);
}

// "h of layer 0 forward, step 3, unit 1": of a batch, the item too.
function pointWritten(point) {
  const step = point.step === null ? '' : `, step ${point.step}`;
  const item = data.items > 1 ? `, batch item ${point.batch}` : '';
  return `${point.quantity} of layer ${point.layer} ${point.direction}${step}${item}, unit ${point.unit}`;
}

// The answer in a sentence, as a check says it, without the word that stands before it.
function answerWritten({ verdict }) {
  const said = verdict.summary.replace(/^(agree|differ): |^cannot tell /, '');
  return said.endsWith('.') ? said : `${said}.`;
}

// Where the wrong values are, without how many, which the answer says.
function whereWritten({ pattern }) {
  return (pattern ?? '').replace(/(; )?\d+ of \d+ values$/, '');
}

function causeWritten(cause) {
  const left = cause.left.length ? `; ${cause.left.join(', ')} still differs` : '';
  const together = cause.together.length ? ` Together: ${cause.together.join(' + ')}.` : '';
  return make('div', { class: 'cause' }, make('p', {}, `${cause.explanation} `, make('code', {}, `[${cause.name}]`)),
    make('p', { class: 'quiet' }, `Assuming this mistake, the largest error drops from ${times(cause.worst_ratio_before)} the limit to ${
      written(numberOf(cause.worst_ratio_after), 2)} × (${cause.scope.join(', ')}${left}).${together}`));
}

function nextStep(run) {
  const { first, verdict } = run.verdict;
  const layer = run.layers.find(firstOf);
  if (layer) {
    const button = goButton('See how it was computed', layer, first.quantity, first.step, first.unit);
    const command = run !== data || run.recorded ? null : make('code', {}, commandFor(layer, first.quantity, first.step, first.unit));
    return [button, command];
  }
  const [suspect] = run.parameters.suspects;
  if (verdict === 'differ' && !first && suspect) return ['See the parameter in its map: ', suspectLink(suspect)];
  if (verdict === 'differ') return ['Make the report of the batch item that differs: leave out --batch-index.'];
  if (verdict === 'agree') return ['Click a gate in the diagram, or a map below it, to see how the number was computed.'];
  if (run.name === 'no engine') {
    const [engine, recorded] = ['--engine path/to/mine.py:step', '--recorded y.npy'].map((said) => make('code', {}, said));
    return ['Give your implementation, ', engine, ', or its numbers, ', recorded, '.'];
  }
  return ['Make the report again with what the answer above asks for.'];
}

function rowsOfAnswer(run) {
  const { verdict } = run;
  const { first, worst, causes } = verdict;
  const rows = [];
  const row = (name, ...said) => rows.push(make('dt', {}, name), make('dd', {}, ...said));
  if (first) {
    const [manual, engine, bound] = [first.manual, first.engine, first.bound].map(numberOf);
    row('First', `${pointWritten(first)}: expected ${written(manual, 9)}, got ${written(engine, 9)}; difference ${
      tiny(engine - manual)}, allowed ${tiny(bound)}`);
    if (whereWritten(verdict)) row('Where', whereWritten(verdict));
    if (verdict.reason) row('But', verdict.reason);
  } else if (worst) {
    row('Largest error', `${share(worst.ratio)} of the allowed ${tiny(numberOf(worst.bound))}, at ${pointWritten(worst)}`);
  }
  causes.forEach((cause) => row('Cause', causeWritten(cause)));
  [...new Set(causes.map((cause) => cause.fix))].forEach((fix) => row('Fix', fix));
  run.parameters.suspects.forEach((one) => row(one.certain ? 'Suspect' : 'Hint', ...suspectWritten(one, suspectLink(one))));
  verdict.indistinguishable.forEach((names) => row('Alike', `these numbers fit each of them equally well: ${names.join(', ')}`));
  verdict.identities.filter((one) => !one.holds).forEach((one) => row('Check failed',
    `${one.name}: ${one.evidence}${one.usual ? `; usually ${one.usual}` : ''}`));
  verdict.notes.forEach((note) => row('Note', note));
  row('Next', ...nextStep(run));
  if (run === data && included()) row('Sampled', included());
  return rows;
}

const MARKS = { agree: '✓', differ: '✗' };

function answerOf(run) {
  const { verdict } = run;
  const badge = make('span', { class: 'badge' }, make('span', { 'aria-hidden': 'true' }, `${MARKS[verdict.verdict] ?? '?'} `),
    make('b', { class: 'verdict' }, verdict.verdict));
  return make('section', { class: `answer ${verdict.verdict.replace(' ', '-')}`, 'aria-label': `Verdict${runs.length > 1 ? ` on ${run.name}` : ''}` },
    make('p', { class: 'said' }, badge, ' ', answerWritten(run)),
    make('dl', {}, ...rowsOfAnswer(run)), sensitivity(run));
}

// Whose numbers the page shows: "torch 2.9 on cpu, float32", or "mine.npy, float32".
function madeBy({ name, recorded, engine }) {
  return `${[recorded ? name : engine.name, engine.version].filter(Boolean).join(' ')}${engine.device ? ` on ${engine.device}` : ''}, ${engine.dtype}`;
}

function header() {
  const batch = data.items > 1 ? `, batch item ${data.item} of ${data.items}` : '';
  const long = data.length < data.steps ? ` (${counted(data.length, 'step')} long)` : '';
  document.getElementById('head').append(
    make('h1', {}, data.shapes.module),
    make('p', { class: 'quiet' }, `${[...new Set(runs.map(madeBy))].join(' and ')}; ${counted(data.steps, 'step')}${batch}${long}`),
    make('div', { class: 'answers' }, ...runs.map(answerOf)),
  );
}

function sensitivity({ verdict }) {
  const rows = Object.entries(verdict.resolution).flatMap(([place, gates]) => Object.entries(gates).map(
    ([gate, one]) => [place, gate, ...[one.finest, one.median, one.coarsest].map((value) => {
      const number = numberOf(value);
      return Number.isFinite(number) ? written(number, 2) : 'none';
    })]));
  const passed = verdict.identities.filter((one) => one.holds).map((one) => one.name);
  const said = [`compared ${counted(verdict.checked.values, 'value')} over ${counted(verdict.checked.steps, 'step')}`,
    ...(passed.length ? [`consistency checks passed: ${passed.join(', ')}`] : []),
    ...(verdict.checked.explained ? [`${counted(verdict.checked.explained, 'value')} above the limit fit another order of summation`] : [])];
  return make('details', {}, make('summary', {}, 'What was compared, and the smallest gate error this check would detect'),
    make('ul', {}, ...said.map((one) => make('li', {}, one))),
    rows.length ? table(['layer', 'gate', 'best unit', 'median', 'worst unit'], rows) : null);
}
