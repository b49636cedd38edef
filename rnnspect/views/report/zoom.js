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

const ORDERS = { unit: 'unit number', difference: 'largest difference', variance: 'largest variance', saturation: 'most saturated' };

// Of each column of a view one number; what is not finite comes first.
function scored(view, score) {
  return Array.from({ length: view.columns }, (_, j) => score(j));
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

function scoresOf(layer, by, columns) {
  const views = (shown) => ['h', ...data.gates, 'c'].map((name) => [name, valuesOf(layer, name, shown)])
    .filter(([, view]) => view?.columns === columns);
  if (by === 'difference') return views('difference').map(([, view]) => largest(view))[0];
  if (by === 'variance') return views('equations').map(([, view]) => variance(view))[0];
  const gates = views('equations').filter(([name]) => data.gates.includes(name)).map(([name, view]) => saturated(view, limitsOf(layer, name)));
  return gates.length ? gates[0].map((_, j) => gates.reduce((sum, one) => sum + one[j], 0)) : undefined;
}

// Of all runs: a unit that matters in one of them.
function scoresOfAll(layer, by, columns) {
  const all = runs.map((run) => scoresOf(counterpart(layer, run), by, columns)).filter(Boolean);
  return all.length ? all[0].map((_, j) => Math.max(...all.map((one) => one[j]))) : null;
}

// The columns of a view in the order that was chosen for its layer; null where they stand as they are.
function sortedRows(one, view) {
  const layer = counterpart(one, data);
  const by = layer.order ?? 'unit';
  if (by === 'unit') return null;
  layer.orders ??= new Map();
  const key = `${by} ${view.columns}`;
  if (!layer.orders.has(key)) {
    const scores = scoresOfAll(layer, by, view.columns);
    layer.orders.set(key, scores ? [...scores.keys()].sort((a, b) => (scores[b] === scores[a] ? a - b : scores[b] - scores[a])) : null);
  }
  return layer.orders.get(key);
}

function orderChooser(layer) {
  const there = Object.entries(ORDERS).filter(([by]) => by !== 'difference' || valuesOf(layer, 'h', 'difference'));
  const select = make('select', {}, ...there.map(([by, said]) => make('option', { value: by }, said)));
  select.addEventListener('change', () => {
    layer.order = select.value;
    redraw();
    watchers.forEach((watcher) => watcher());
    say(`Units of ${placeOf(layer)} sorted by ${ORDERS[layer.order]}.`);
  });
  return make('label', { class: 'sorting' }, 'sort units by ', select);
}
