// The network, the cell of one layer with its numbers, and the cell's equations: of the step and unit that is shown.

// The quantity that a line of the cell is of, its first unit there and how many it has: of a cell state of several
// blocks some units of it.
function definedBy(layer, line) {
  const name = line.split(' = ')[0].trim().replace(/'$/, '');
  const { units, blocks = [] } = layer.derivable.equations.c ?? {};
  const at = blocks.findIndex((one) => one.written === line);
  if (at < 0) return valuesOf(layer, name, 'equations') && { name, first: 0, units: name === 'c' ? units : Infinity };
  return { name: 'c', first: total(blocks.slice(0, at).map((one) => one.units)), units: blocks[at].units };
}

// Each line of the cell, and its number.
function equations(layer) {
  const rows = layer.equations.map((line) => {
    const numbers = make('td', { class: 'now' });
    return { ...definedBy(layer, line), numbers, row: make('tr', {}, make('td', { class: 'mono' }, line), numbers) };
  }).filter((one) => one.name);
  const caption = make('caption', {});
  const follow = () => {
    const numbers = numbersAt(layer, now.step);
    const exact = numbers || valuesOf(layer, 'h', 'equations').exact;
    caption.textContent = `${exact ? 'at' : 'in the cell that holds'} step ${now.step}, unit ${now.unit}`;
    rows.forEach((one) => {
      const view = valuesOf(layer, one.name, 'equations');
      const unit = one.first + Math.min(now.unit, one.units - 1, view.units - 1);
      const manual = numbers ? written(numbers.quantity(one.name, unit)) : numberWritten(view, now.step, unit);
      const engine = valuesOf(layer, one.name, 'engine');
      const given = engine && (numbers ? written(numbers.engine(one.name, unit)) : numberWritten(engine, now.step, unit));
      one.numbers.replaceChildren(make('b', {}, manual), engine ? make('span', { class: 'quiet' }, ` ${layer.run.name} ${given}`) : '');
    });
  };
  return { table: make('table', { class: 'equations' }, caption, make('tbody', {}, ...rows.map((one) => one.row))), follow };
}

function chooser() {
  const choice = (name, label, all, said, chosen, go) => {
    const select = make('select', { id: name, 'aria-label': label }, ...all.map((one, at) => make('option', { value: String(at) }, said(one))));
    select.addEventListener('change', () => go(all[Number(select.value)]));
    watch(() => { select.value = String(all.indexOf(chosen())); });
    return all.length > 1 ? make('label', {}, `${name} `, select) : null;
  };
  return make('div', { class: 'choices' },
    choice('run', 'Run', runs, (run) => run.name, () => now.layer.run, (run) => show(counterpart(now.layer, run))),
    choice('layer', 'Layer and direction', data.layers, placeOf, () => counterpart(now.layer, data),
      (one) => show(counterpart(one, now.layer.run))));
}

function stage() {
  const cell = make('div', { class: 'drawing', tabindex: '0', role: 'group', 'aria-label': 'The cell, drawn' });
  const lines = make('div', { class: 'lines-now' });
  const title = make('h2', {});
  const made = new Map();
  let on = null;
  section('', make('div', { class: 'bar' }, title, chooser()),
    make('div', { class: 'stage' }, make('div', { class: 'network-box' }, network()), cell, lines));
  watch(() => {
    if (!made.has(now.layer)) made.set(now.layer, { drawing: cellDrawing(now.layer), table: equations(now.layer) });
    const { drawing, table: numbers } = made.get(now.layer);
    if (on !== now.layer) {
      cell.replaceChildren(drawing.picture);
      lines.replaceChildren(numbers.table, make('p', { class: 'quiet' }, 'Click a gate to see how it was computed. Space plays, ← and → step, / searches.'));
      on = now.layer;
    }
    title.textContent = `Inside the cell: step ${now.step}${openable(now.step) ? '' : ' (its numbers are not included)'}, unit ${now.unit}`;
    drawing.follow();
    numbers.follow();
  });
}
