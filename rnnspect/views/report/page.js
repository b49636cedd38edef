// The page from top to bottom.

function weightFigure(parameter) {
  const view = weightsOf(parameter.name);
  const gateOf = (row) => parameter.gates.find((gate) => row >= gate.start && row < gate.stop);
  const map = heatmap({
    view,
    upright: false,
    shown: 'weight',
    small: view.steps < 12,
    caption: parameter.name,
    said: `${view.steps} rows × ${view.units} column${view.units === 1 ? '' : 's'}${sampled(view).replace('steps', 'rows').replace('step', 'row').replace('unit', 'column')}`,
    blocks: parameter.gates.length > 1 ? parameter.gates : [],
    address: (x, y) => {
      const row = y * view.per_step;
      const gate = gateOf(row);
      return `${parameter.name}[${range(row, view.per_step, view.steps)}, ${
        range(x * view.per_unit, view.per_unit, view.units)}]${gate && view.per_step === 1 ? ` (${gate.name}, unit ${row - gate.start})` : ''}`;
    },
  });
  map.file = parameter.name;
  addTools(null, map);
  return map.figure;
}

function parametersSection() {
  const rows = data.shapes.parameters.map((one) => [one.name, one.shape.join(' × '), one.reads,
    one.gates.map((gate) => `${gate.name} ${gate.start}:${gate.stop}`).join('  '), one.count.toLocaleString('en'), one.bytes.toLocaleString('en')]);
  section('Parameters', table(['parameter', 'shape', 'dimensions', 'gate rows', 'count', 'bytes'], rows),
    make('p', { class: 'quiet' }, `${data.shapes.total.toLocaleString('en')} parameters, ${data.shapes.bytes.toLocaleString('en')} bytes in ${data.spec.dtype}`),
    make('div', { class: 'grid' }, ...data.shapes.parameters.map(weightFigure)));
}

header();
controls();
stage();
data.layers.forEach(layerSection);
parametersSection();
const wrong = runs.flatMap((run) => run.layers).find(firstOf);
if (!placeRead() && wrong) {
  show(wrong);
  move(firstOf(wrong).step, firstOf(wrong).unit);
}
followPlace();
document.documentElement.dataset.ready = 'yes';
