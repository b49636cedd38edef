// Numbers over time as lines: where a dot stands for several numbers, from the smallest to the largest of them.

const inks = ['--ink1', '--ink2', '--ink3', '--ink4'];

// `lines` are { name, view, column }: `column` gives the column of the view. `ends` are the ends of the axis where they
// are not those of the numbers. An axis of `powers` is logarithmic, and has nothing at 0 and below.
function curves(caption, said, lines, ends = null, powers = false) {
  const framed = frame(`${caption}: ${said}`, 96, ['step →', ''], { class: 'curve', role: 'img' });
  const { canvas, plot } = framed;
  const column = make('div', { class: 'column' });
  plot.append(column);
  const key = make('div', { class: 'legend' });
  const numbers = lines.map((line, at) => {
    const value = make('span', {});
    key.append(make('span', {}, make('span', { class: `ink${(at % inks.length) + 1}` }, `${at % 2 ? '╌' : '─'} ${line.name} `), value));
    return value;
  });
  const columnOf = (line) => (line.column ? line.column() : 0);
  let drawnFor = '';
  whenSeen(canvas, function* draw() {
    for (const { view } of lines) yield* view.ready();
    drawnFor = lines.map(columnOf).join();
    drawCurves(framed, lines.map((line) => ({ view: line.view, column: columnOf(line) })), powers ? powersOf : axisOf(ends));
  });
  const figure = make('figure', { class: 'chart' }, make('figcaption', {}, make('b', {}, caption), ` ${said}`), framed.whole, key);
  watch(() => {
    if (drawnFor && drawnFor !== lines.map(columnOf).join() && canvas.near) begin(canvas, canvas.draw());
    lines.forEach((line, at) => {
      numbers[at].textContent = cellWritten(line.view, Math.floor(now.step / line.view.per_step), columnOf(line));
    });
    const [first, after] = stepsShown();
    column.hidden = now.step < first || now.step >= after;
    column.style.left = `${((now.step + 0.5 - first) / (after - first)) * 100}%`;
  });
  return { figure, canvas };
}

// The smallest and the largest number of a column, of those above `above`.
function rangeOfColumn(view, j, above) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < view.rows; i += 1) {
    if (view.flags(i, j) & EMPTY || !(view.high(i, j) > above)) continue;
    low = Math.min(low, view.low(i, j) > above ? view.low(i, j) : view.high(i, j));
    high = Math.max(high, view.high(i, j));
  }
  return [low, high];
}

// An axis: what it shows lies above `above`, `place` says where a number stands between 0 at its `low` end and 1.
function axisOf(ends) {
  return (spanOf) => {
    const [least, most] = ends ?? spanOf(-Infinity);
    const [low, high] = ends ?? [Math.min(0, least), Math.max(0, most)];
    const top = high > low ? high : low + 1;
    const marks = [...new Set([top, ...(low < 0 && top > 0 ? [0] : []), low])];
    return { above: -Infinity, place: (value) => (value - low) / (top - low), marks };
  };
}

// From a power of ten to another.
function powersOf(spanOf) {
  const [least, most] = spanOf(0);
  const low = least <= most ? Math.floor(Math.log10(least)) : 0;
  const top = least <= most ? Math.max(Math.ceil(Math.log10(most)), low + 1) : 1;
  const every = Math.max(1, Math.ceil((top - low) / 4));
  const marks = [];
  for (let power = top; power >= low; power -= every) marks.push(Number(`1e${power}`));
  return { above: 0, place: (value) => (Math.log10(value) - low) / (top - low), marks };
}

function drawCurves({ canvas, ticksAcross, ticksDown }, lines, axis) {
  const spanOf = (above) => {
    const spans = lines.map(({ view, column }) => rangeOfColumn(view, column, above)).filter(([low, high]) => low <= high);
    return [Math.min(...spans.map((one) => one[0])), Math.max(...spans.map((one) => one[1]))];
  };
  const { above, place, marks } = axis(spanOf);
  const dots = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * dots));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * dots));
  const [first, after] = stepsShown();
  const share = (value) => 1 - place(value);
  const edge = 3 * dots;
  const y = (value) => edge + share(value) * (canvas.height - 2 * edge);
  const style = getComputedStyle(document.documentElement);
  const pen = canvas.getContext('2d');
  lines.forEach(({ view, column }, at) => {
    const cells = [Math.floor(first / view.per_step), Math.ceil(after / view.per_step)];
    const x = (cell) => ((cell + 0.5 - cells[0]) / (cells[1] - cells[0])) * canvas.width;
    pen.strokeStyle = onPaper.on ? ['#1f5fa8', '#b05200', '#4d7a2a', '#8a3fa0'][at % 4] : style.getPropertyValue(inks[at % inks.length]);
    pen.lineWidth = 1.5 * dots;
    pen.setLineDash(at % 2 ? [5 * dots, 4 * dots] : []);
    pen.beginPath();
    let open = false;
    const shown = (cell) => cell < cells[1] && !(view.flags(cell, column) & EMPTY) && view.high(cell, column) > above;
    for (let cell = cells[0]; cell < cells[1]; cell += 1) {
      if (!shown(cell)) {
        open = false;
        continue;
      }
      const most = view.high(cell, column);
      const least = view.low(cell, column) > above ? view.low(cell, column) : most;
      if (open) pen.lineTo(x(cell), y(least));
      else pen.moveTo(x(cell) - (shown(cell + 1) ? 0 : 1.5 * dots), y(least));
      if (!open) pen.lineTo(x(cell), y(least)); // a dot, where it is alone
      if (most !== least) pen.lineTo(x(cell), y(most));
      open = true;
    }
    if (cells[1] - cells[0] === 1) pen.lineTo(canvas.width, y(view.high(cells[0], column)));
    pen.stroke();
  });
  ticksAcross(wholeTicks(first, after, canvas.clientWidth / FAR.x, (step) => (step + 0.5 - first) / (after - first)));
  ticksDown(marks.map((value) => ({ at: 0.03 + 0.94 * share(value), said: written(value, 2) })));
}
