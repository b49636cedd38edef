// A heat map as a file: its picture as PNG, its numbers as CSV. Both are made here; nothing is sent anywhere.

function save(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = make('a', { href: address, download: name.replace(/[^\w.-]+/g, '-') });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// A line for each step, a number for each unit; where a cell is a range, its smallest and its largest number.
function csvOf({ view, upright }) {
  finished(view.ready());
  const [row, column] = upright ? ['step', 'unit'] : ['row', 'column'];
  const names = Array.from({ length: view.columns }, (_, j) => `${column} ${range(j * view.per_unit, view.per_unit, view.units)}`);
  const odd = (flags) => (flags === EMPTY ? '' : flags & NAN ? 'NaN' : flags & PLUS ? 'Infinity' : '-Infinity');
  const cell = (i, j) => {
    const flags = view.flags(i, j);
    const both = flags & EMPTY ? [odd(flags), odd(flags)] : [view.low(i, j), view.high(i, j)];
    return view.exact ? [both[0]] : both;
  };
  const head = [row, ...names.flatMap((name) => (view.exact ? [name] : [`${name} smallest`, `${name} largest`]))];
  const lines = Array.from({ length: view.rows }, (_, i) => (
    [range(i * view.per_step, view.per_step, view.steps), ...names.flatMap((_name, j) => cell(i, j))].join(',')));
  return `${[head.join(','), ...lines].join('\n')}\n`;
}

// What lies below cells that have no number.
function hatch(pen, style, [left, top, wide, high]) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, wide, high);
  pen.clip();
  pen.strokeStyle = style.getPropertyValue('--quiet');
  for (let x = left - high; x < left + wide; x += 6) {
    pen.moveTo(x, top + high);
    pen.lineTo(x + high, top);
  }
  pen.stroke();
  pen.restore();
}

// The map as it is shown, with its caption, its axes and its scale.
function pngOf(map, done) {
  const { canvas, framed, scale } = map;
  const [big, left, top] = [2, 60, 30];
  const [wide, high] = [Math.max(canvas.clientWidth, 480), Math.max(canvas.clientHeight, 160)];
  const sheet = make('canvas', { width: (left + wide + 20) * big, height: (top + high + 70) * big });
  const pen = sheet.getContext('2d');
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue('--ink');
  pen.scale(big, big);
  pen.fillStyle = style.getPropertyValue('--paper');
  pen.fillRect(0, 0, sheet.width, sheet.height);
  if (map.view.empty) hatch(pen, style, [left, top, wide, high]);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, left, top, wide, high);
  pen.fillStyle = ink;
  pen.font = '13px sans-serif';
  pen.fillText(map.figure.querySelector('figcaption').textContent, left, 18, wide);
  pen.font = '11px monospace';
  pen.textAlign = 'right';
  framed.left.querySelectorAll('.tick').forEach((tick) => pen.fillText(tick.textContent, left - 5, top + (parseFloat(tick.style.top) / 100) * high + 4));
  pen.textAlign = 'center';
  framed.across.querySelectorAll('.tick').forEach((tick) => pen.fillText(tick.textContent, left + (parseFloat(tick.style.left) / 100) * wide, top + high + 14));
  pen.fillText(framed.names[1], left / 2, top + high + 14);
  pen.textAlign = 'right';
  pen.fillText(framed.names[0], left + wide, top + high + 28);
  tableOf(scale.name).forEach((colour, at) => {
    pen.fillStyle = `rgb(${colour.join()})`;
    pen.fillRect(left + 70 + at, top + high + 38, 1.5, 12);
  });
  pen.fillStyle = ink;
  pen.fillText(written(scale.low, 3), left + 64, top + high + 48);
  pen.textAlign = 'left';
  pen.fillText(`${written(scale.high, 3)}${scale.bent ? `  ${bentWritten(scale)}` : ''}`, left + 332, top + high + 48);
  sheet.toBlob(done, 'image/png');
}

// The buttons below a map.
function addTools(layer, map) {
  const what = `${map.caption}, ${map.said.split(',')[0]}`;
  const small = (said, label, pressed) => {
    const made = button(said, `${label}: ${what}`, pressed);
    map.tools.append(made);
    return made;
  };
  const name = (end) => `rnnspect ${map.file}.${end}`;
  if (map.unitChosen) small('over time', 'Show the unit over time', () => unitLine(layer, map));
  small('PNG', 'Save as PNG', () => {
    drawNow(map.canvas);
    pngOf(map, (blob) => save(name('png'), blob));
  });
  small('CSV', 'Save as CSV', () => save(name('csv'), new Blob([csvOf(map)], { type: 'text/csv' })));
  const whole = small('whole map', 'Show the whole map again', () => zoomOut(map));
  map.changed = () => {
    whole.hidden = !isZoomed(map);
    map.update?.();
  };
  watch(map.changed);
}
