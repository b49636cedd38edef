// Which steps all drawings show, and in what order a layer's units stand.

const zoomed = { steps: null }; // [first, after]; null for all

function stepsShown() {
  return zoomed.steps ?? [0, data.length];
}

function zoomSteps(first, after) {
  const most = data.length;
  const [from, to] = [Math.max(0, Math.floor(first)), Math.min(most, Math.ceil(after))];
  zoomed.steps = to - from >= most || to <= from ? null : [from, to];
  redraw();
  watchers.forEach((watcher) => watcher());
}

const ORDERS = { unit: 'unit number', difference: 'largest difference', variance: 'largest variance', saturation: 'most saturated', gradient: 'largest gradient' };

// Of each column of a view one number, bit by bit; what is not finite comes first.
function* scored(view, score) {
  yield* view.ready();
  const scores = [];
  for (let j = 0; j < view.columns; j += 1) {
    if (pauses(j, view.rows)) yield;
    scores.push(score(j));
  }
  return scores;
}

function largest(view) {
  return scored(view, (j) => {
    let most = 0;
    for (let i = 0; i < view.rows; i += 1) {
      if (view.flags(i, j)) return Infinity;
      most = Math.max(most, Math.abs(view.low(i, j)), Math.abs(view.high(i, j)));
    }
    return most;
  });
}

function variance(view) {
  return scored(view, (j) => {
    const values = Array.from({ length: view.rows }, (_, i) => (view.low(i, j) + view.high(i, j)) / 2);
    const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
    const found = values.reduce((sum, one) => sum + (one - mean) ** 2, 0);
    return Number.isFinite(found) ? found : Infinity;
  });
}

// How many steps a gate's unit is near one of its limits, as in the curve of saturated units.
function saturated(view, limits) {
  const near = limits ? (limits[1] - limits[0]) / (limits[0] ? 40 : 20) : 0;
  const shut = (low, high) => (limits ? high <= limits[0] + near || low >= limits[1] - near : high <= 0);
  return scored(view, (j) => {
    let count = 0;
    for (let i = 0; i < view.rows; i += 1) if (shut(view.low(i, j), view.high(i, j))) count += 1;
    return count;
  });
}

function* scoresOf(layer, by, columns) {
  const views = (shown) => ['h', ...data.gates, 'c'].map((name) => [name, valuesOf(layer, name, shown)])
    .filter(([, view]) => view?.columns === columns);
  const ofSize = ['difference', 'gradient'].includes(by);
  const [first] = views(ofSize ? by : 'equations');
  if (by !== 'saturation') return first && (yield* (ofSize ? largest : variance)(first[1]));
  const gates = [];
  for (const [name, view] of views('equations')) {
    if (data.gates.includes(name)) gates.push(yield* saturated(view, limitsOf(layer, name)));
  }
  return gates[0]?.map((_, j) => gates.reduce((sum, one) => sum + one[j], 0));
}

// The units of views with so many columns in order; null where nothing says one. Of two runs, a unit that matters in one
// of them comes first.
function* orderedBy(layer, by, columns) {
  const all = [];
  for (const run of runs) all.push(yield* scoresOf(counterpart(layer, run), by, columns));
  const [one, other = one] = all.filter(Boolean);
  const scores = one?.map((score, j) => Math.max(score, other[j]));
  return scores ? [...scores.keys()].sort((a, b) => (scores[b] === scores[a] ? a - b : scores[b] - scores[a])) : null;
}

// Sorts the units in every map of a layer.
function* sortUnits(layer, by) {
  const orders = new Map();
  const columns = new Set(mapsOf(layer).map((one) => valuesOf(layer, one.quantity, one.shown).columns));
  if (by !== 'unit') for (const count of columns) orders.set(count, yield* orderedBy(layer, by, count));
  layer.orders = orders;
  redraw();
  watchers.forEach((watcher) => watcher());
  say(`Units of ${placeOf(layer)} sorted by ${ORDERS[by]}.`);
}

// The columns of a view in the order that was chosen for its layer; null where they stand as they are.
function sortedRows(layer, view) {
  return counterpart(layer, data).orders?.get(view.columns) ?? null;
}

function orderChooser(layer) {
  const there = Object.entries(ORDERS).filter(([by]) => !['difference', 'gradient'].includes(by) || valuesOf(layer, 'h', by));
  const select = make('select', {}, ...there.map(([by, said]) => make('option', { value: by }, said)));
  select.addEventListener('change', () => begin(select, sortUnits(layer, select.value)));
  return make('label', { class: 'sorting' }, 'sort units by ', select);
}
