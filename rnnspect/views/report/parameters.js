// The parameters: their values, how much of the differences each explains, and what was recovered of the engine's.

const pointed = new Map(); // by the name of a parameter: { row, column, maps }, the cell that its maps mark
const UNTOLD = 'unknown';

// Cells whose number is not told are empty.
function toldView(picture) {
  const view = viewOf(picture);
  return { ...view, empty: UNTOLD, flags: (i, j) => (view.flags(i, j) & EMPTY ? EMPTY : 0) };
}

function scoreOf(run, name) {
  const { scores } = run.parameters;
  return scores[name] ? viewed(scores[name], () => toldView(scores[name])) : null;
}

function differenceOf(run, name) {
  const { differences } = run.parameters;
  return differences[name] ? viewed(differences[name], () => toldView(differences[name])) : null;
}

// The standard error of a difference; null where the file does not hold it.
function errorOf(run, { name, shape }, row, column) {
  const errors = run.parameters.errors[name];
  return errors ? unpacked(errors)[row * (shape[1] ?? 1) + column] : null;
}

// The largest score that chance alone gives.
function chanceOf(run, name) {
  const end = name.slice(name.lastIndexOf('_l'));
  return run.parameters.layers.find((one) => end === `_l${one.layer}${one.direction === 'reverse' ? '_reverse' : ''}`).chance;
}

// weight_hh_l0[19,2] (n, unit 3); of a cell with several, their ranges.
function entryWritten(parameter, view, row, column) {
  const gate = parameter.gates.find((one) => row >= one.start && row < one.stop);
  const across = parameter.shape.length > 1 ? `,${range(column, view.per_unit, view.units)}` : '';
  const unit = gate && view.per_step === 1 ? ` (${gate.name}, unit ${row - gate.start})` : '';
  return `${parameter.name}[${range(row, view.per_step, view.steps)}${across}]${unit}`;
}

function rangesOf(view) {
  return sampled(view).replace('step', 'row').replace('unit', 'column');
}

// The suspects of all runs that are in a parameter, or begin there.
function suspectsOf(name) {
  return runs.flatMap((run) => run.parameters.suspects).filter((one) => one.entry[0] === name);
}

// One map of a parameter. `wanted` are its view, what is `shown`, and what is said of it.
function parameterMap(parameter, wanted) {
  const { view } = wanted;
  const map = heatmap({
    upright: false,
    small: view.steps < 12,
    caption: parameter.name,
    blocks: parameter.gates.length > 1 ? parameter.gates : [],
    ringed: suspectsOf(parameter.name).filter((one) => one.kind === 'parameter').map(({ name, entry: [, [row, column = 0]] }) => (
      { x: Math.floor(column / view.per_unit), y: Math.floor(row / view.per_step), said: name })),
    address: (x, y) => entryWritten(parameter, view, y * view.per_step, x * view.per_unit),
    chosen: (x, y) => openParameter(parameter, y * view.per_step, x * view.per_unit),
    key: (event) => parameterPressed(event, parameter, map),
    ...wanted,
    said: `${wanted.said}${rangesOf(view)}`,
  });
  map.file = `${parameter.name}${wanted.file}`;
  map.update = () => {
    const { row, column } = pointed.get(parameter.name);
    if (row !== null) map.place(Math.floor(column / view.per_unit), Math.floor(row / view.per_step));
  };
  pointed.get(parameter.name).maps.push(map);
  addTools(null, map);
  return map.figure;
}

// Its values, and of each run the scores and what was recovered.
function parameterFigures(parameter) {
  const { name } = parameter;
  pointed.set(name, { row: null, column: null, maps: [] });
  const weights = weightsOf(name);
  const size = `${weights.steps} rows × ${counted(weights.units, 'column')}`;
  const made = [parameterMap(parameter, { view: weights, shown: 'weight', said: size, file: '' })];
  for (const run of runs) {
    const of = runs.length > 1 ? ` ${run.name}` : '';
    const score = scoreOf(run, name);
    if (score) {
      made.push(parameterMap(parameter, { view: score, shown: 'score', limits: [chanceOf(run, name), 1], file: `${of} score`, said: `score${of && `,${of}`}` }));
    }
    const difference = differenceOf(run, name);
    if (difference) {
      const like = data.shapes.parameters.map((one) => differenceOf(run, one.name)).filter(Boolean);
      made.push(parameterMap(parameter, { view: difference, shown: 'change', limits: [-run.parameters.least, run.parameters.least], like,
        file: `${of} recovered minus here`, said: `recovered − here${of && `,${of}`}` }));
    }
  }
  if (made.length > 1) made[0].classList.add('begins');
  return made;
}

function percent(share) {
  return `${written(share * 100, 4)} %`;
}

// What is known of one parameter, or of those of a cell that holds several.
function parameterRows(parameter, row, column) {
  const weights = weightsOf(parameter.name);
  const own = weights.at(row, column);
  const rows = [['here', own === null ? numberWritten(weights, row, column) : written(own, 9)]];
  for (const run of runs) {
    const of = runs.length > 1 ? `${run.name}: ` : '';
    const [score, difference] = [scoreOf(run, parameter.name), differenceOf(run, parameter.name)];
    const change = difference?.at(row, column);
    const error = errorOf(run, parameter, row, column);
    if (difference && Number.isNaN(change)) rows.push([`${of}recovered`, `${UNTOLD} from these numbers, so it keeps your value`]);
    else if (difference && change !== null && own !== null) {
      rows.push([`${of}recovered`, written(own + change, 9)]);
      rows.push([`${of}recovered − here`, `${written(change, 4)}${error === null ? '' : ` ± ${written(error, 2)} (standard error)`}`]);
    } else if (difference) rows.push([`${of}recovered − here`, numberWritten(difference, row, column)]);
    const share = score?.at(row, column);
    if (score && Number.isNaN(share)) rows.push([`${of}score`, `${UNTOLD}: no step depends on it`]);
    else if (score && share !== null) rows.push([`${of}score`, `explains ${percent(share)} of the differences in its unit; chance alone up to ${percent(chanceOf(run, parameter.name))}`]);
    else if (score) rows.push([`${of}score`, numberWritten(score, row, column)]);
  }
  return rows;
}

function openParameter(parameter, row, column) {
  point(parameter, row, column);
  const named = suspectsOf(parameter.name).filter(({ entry: [, [first, second = 0]] }) => first === row && second === column);
  opened(entryWritten(parameter, weightsOf(parameter.name), row, column), [
    make('dl', {}, ...parameterRows(parameter, row, column).flatMap(([name, said]) => [make('dt', {}, name), make('dd', {}, said)])),
    ...named.map((one) => make('p', {}, ...suspectWritten(one, one.name), '.')),
  ]);
}

// Marks a cell in every map of a parameter.
function point(parameter, row, column) {
  const at = pointed.get(parameter.name);
  const { steps, units } = weightsOf(parameter.name);
  at.row = Math.max(0, Math.min(steps - 1, row));
  at.column = Math.max(0, Math.min(units - 1, column));
  at.maps.forEach((map) => map.update());
}

function cellSaid(parameter, { view }, row, column) {
  return `${entryWritten(parameter, view, row, column)}: ${numberWritten(view, row, column)}`;
}

// Goes to a cell; whether there is one.
function showParameter(name, row, column) {
  const parameter = data.shapes.parameters.find((one) => one.name === name);
  if (!parameter || row >= parameter.shape[0] || column >= (parameter.shape[1] ?? 1)) return false;
  const { maps } = pointed.get(name);
  const map = maps.at(-1);
  maps.filter(isZoomed).forEach(zoomOut);
  point(parameter, row, column);
  map.figure.scrollIntoView({ block: 'center' });
  map.canvas.focus({ preventScroll: true });
  say(cellSaid(parameter, map, row, column));
  return true;
}

function parameterPressed(event, parameter, map) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { view } = map;
  const at = pointed.get(parameter.name);
  const [down, across] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === 'Enter' || event.key === ' ') openParameter(parameter, at.row ?? 0, at.column ?? 0);
  else if (event.key === '0') zoomOut(map);
  else if (event.key === '+' || event.key === '=') zoomCells(map, at, 0.5);
  else if (event.key === '-') zoomCells(map, at, 2);
  else if (!down && !across) return;
  else point(parameter, at.row === null ? 0 : at.row + down * view.per_step, at.column === null ? 0 : at.column + across * view.per_unit);
  event.preventDefault();
  event.stopPropagation();
  say(cellSaid(parameter, map, at.row ?? 0, at.column ?? 0));
}

// "possibly weight_hh_l0[19,2] is 0.146 in the engine …", with `name` in place of its name.
function suspectWritten({ said, certain, shrinks, evidence }, name) {
  return [certain ? '' : 'possibly ', name, `${said}: with that, the differences are ${shrinks}; ${evidence}`];
}

// A link to the cell of a suspect, or to the first of a group of them.
function suspectLink({ name, entry: [parameter, [row, column = 0]] }) {
  const link = make('a', { href: `#parameter=${parameter}&row=${row}&column=${column}` }, name);
  link.addEventListener('click', () => showParameter(parameter, row, column));
  return link;
}

// What is said of the parameters of a run.
function parametersOf(run) {
  const { suspects, said, recovered } = run.parameters;
  const rows = suspects.map((one) => [suspectLink(one), one.place, one.ours, one.theirs, one.shrinks, `${one.certain ? '' : 'a hint: '}${one.evidence}`]);
  const others = 'Parameters that differ in the engine, as all values together show:';
  const hints = 'Parameters that may differ in the engine; rounding can look like this, too:';
  return make('div', {}, runs.length > 1 ? make('h3', {}, run.name) : '',
    rows.length ? make('p', {}, suspects.some((one) => one.certain) ? others : hints) : '',
    rows.length ? table(['parameter', 'gate and unit', 'here', 'in the engine', 'differences with that', 'evidence'], rows, { class: 'suspects' }) : '',
    make('ul', {}, ...[...said, ...recovered].map((one) => make('li', {}, one))));
}

const ABOUT_SCORES = 'The score of a parameter says how much of the differences in its unit a change of this one number would explain, from 0 to 1. Its colours begin where chance ends.';
const ABOUT_RECOVERED = 'Recovered − here is the engine’s value, as its output shows it, minus yours; all of these maps have one scale.';

function parametersSection() {
  const { parameters, total: count, bytes } = data.shapes;
  const rows = parameters.map((one) => [one.name, one.shape.join(' × '), one.reads,
    one.gates.map((gate) => `${gate.name} ${gate.start}:${gate.stop}`).join('  '), one.count.toLocaleString('en'), one.bytes.toLocaleString('en')]);
  const figures = parameters.map(parameterFigures);
  const about = [runs.some((run) => Object.keys(run.parameters.scores).length) ? ABOUT_SCORES : '',
    runs.some((run) => Object.keys(run.parameters.differences).length) ? ABOUT_RECOVERED : ''];
  section('Parameters', ...runs.map(parametersOf), make('p', { class: 'quiet' }, [...about, 'Click a cell for its numbers.'].filter(Boolean).join(' ')),
    make('div', { class: figures.some((one) => one.length > 2) ? 'grid' : 'grid pairs' }, ...figures.flat()),
    table(['parameter', 'shape', 'dimensions', 'gate rows', 'count', 'bytes'], rows),
    make('p', { class: 'quiet' }, `${count.toLocaleString('en')} parameters, ${bytes.toLocaleString('en')} bytes in ${data.spec.dtype}`));
}
