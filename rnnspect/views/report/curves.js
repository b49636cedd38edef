// Numbers over time as bands: each dot from the smallest to the largest number in it.

const inks = ['--ink1', '--ink2', '--ink3', '--ink4'];

// `full` is the top of the axis where it is not the largest number.
function curves(caption, said, lines, full) {
  const canvas = make('canvas', { class: 'curve', role: 'img', 'aria-label': `${caption}: ${said}` });
  const column = make('div', { class: 'column' });
  const plot = make('div', { class: 'plot curved' }, canvas, column);
  const top = make('span', {});
  const key = make('div', { class: 'legend' });
  const figure = make('figure', {}, make('figcaption', {}, make('b', {}, caption), ` ${said}, 0 to `, top), plot, key);
  const numbers = lines.map((line, at) => {
    const value = make('span', {});
    const name = make('span', { class: `ink${(at % inks.length) + 1}` }, `${at % 2 ? '╌' : '─'} ${line.name} `);
    key.append(make('span', {}, name, value));
    return value;
  });
  whenSeen(canvas, () => {
    const tops = lines.map((line) => rangeOf(line.view)[1]).filter(Number.isFinite);
    const most = full || Math.max(...tops, 0) || 1;
    const dots = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * dots));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * dots));
    top.textContent = written(most, 3);
    const style = getComputedStyle(document.documentElement);
    const pen = canvas.getContext('2d');
    lines.forEach((line, at) => {
      const cells = line.view.rows;
      const y = (value) => (1 - value / most) * (canvas.height - 4 * dots) + 2 * dots;
      const x = (cell) => ((cell + 0.5) / cells) * canvas.width;
      pen.strokeStyle = style.getPropertyValue(inks[at % inks.length]);
      pen.lineWidth = 1.5 * dots;
      pen.setLineDash(at % 2 ? [5 * dots, 4 * dots] : []);
      pen.beginPath();
      let open = false;
      for (let cell = 0; cell < cells; cell += 1) {
        if (line.view.flags(cell, 0) & EMPTY) {
          open = false;
          continue;
        }
        const [low, high] = [line.view.low(cell, 0), line.view.high(cell, 0)];
        if (open) pen.lineTo(x(cell), y(low));
        else pen.moveTo(x(cell), y(low));
        if (high !== low) pen.lineTo(x(cell), y(high));
        open = true;
      }
      if (cells === 1) pen.lineTo(canvas.width, y(line.view.high(0, 0)));
      pen.stroke();
    });
  });
  watch(() => {
    lines.forEach((line, at) => { numbers[at].textContent = numberWritten(line.view, now.step, 0); });
    column.style.left = `${((now.step + 0.5) / data.length) * 100}%`;
  });
  return figure;
}
