// The network as a drawing: x below, a row of boxes for each layer, output and final states above. A click on a box
// shows the cell of that layer.

function network() {
  const { spec, shapes } = data;
  const two = spec.bidirectional;
  const layers = spec.num_layers;
  const shown = layers <= 6 ? [...Array(layers).keys()] : [0, 1, null, layers - 2, layers - 1];
  const row = 92;
  const width = two ? 440 : 270;
  const height = shown.length * row + 70;
  const picture = drawn('svg', {
    viewBox: `0 0 ${width} ${height}`, role: 'group', class: two ? 'network two' : 'network',
    'aria-label': `${shapes.module}: ${layers} layers, ${two ? 'two directions' : 'one direction'}`,
  });
  const head = drawn('marker', {
    id: 'arrowhead', viewBox: '0 0 8 8', refX: '7', refY: '4', markerWidth: '7', markerHeight: '7', orient: 'auto-start-reverse',
  }, drawn('path', { d: 'M0 0 L8 4 L0 8 z', class: 'tip' }));
  picture.append(drawn('defs', {}, head));
  const text = (x, y, said, settings) => picture.append(drawn('text', { x, y, ...settings }, said));
  const arrow = (x1, y1, x2, y2) => picture.append(
    drawn('line', { x1, y1, x2, y2, class: 'arrow', 'marker-end': 'url(#arrowhead)' }),
  );
  const box = (x, y, wide, layer, below) => {
    const wrong = runs.some((run) => firstOf(counterpart(layer, run))) ? '✗ ' : '';
    const said = `layer ${layer.layer}, ${layer.direction}`;
    const made = drawn('g', { class: 'layer' }, drawn('rect', { x, y, width: wide, height: 44, rx: 6 }),
      drawn('text', { x: x + wide / 2, y: y + 19, class: 'name' }, wrong + said),
      drawn('text', { x: x + wide / 2, y: y + 35, class: 'small' }, below));
    pressable(made, `${said}: show its cell${wrong && '; the first wrong value is here'}`, () => show(counterpart(layer, now.layer.run)));
    watch(() => made.setAttribute('aria-pressed', String(counterpart(now.layer, data) === layer)));
    picture.append(made);
  };
  const sizeOf = (letter) => (letter === 'T' ? data.steps : letter === 'B' ? data.items : letter);
  const size = (axes) => `(${axes.shape.map(sizeOf).join(', ')})`;
  const centre = width / 2;
  const directions = two ? ['forward', 'reverse'] : [spec.reverse ? 'reverse' : 'forward'];
  const places = two ? [centre - 82, centre + 82] : [centre];
  const units = spec.proj_size || spec.hidden_size;
  const states = shapes.c_n ? 'h0, c0' : 'h0';
  const finals = shapes.c_n ? 'h_n, c_n' : 'h_n';
  const between = [...shapes.output.shape.slice(0, 2).map(sizeOf), units * directions.length].join(', ');
  let y = height - 26;
  text(centre, y + 18, `x ${size(shapes.input)}`, { class: 'name' });
  for (const layer of shown) {
    if (layer === null) {
      text(centre, y - row / 2, `… ${layers - 4} more layers …`, { class: 'name' });
    } else {
      directions.forEach((direction, which) => {
        const x = places[which];
        const side = which === 0 ? -1 : 1;
        const sign = direction === 'reverse' ? '←' : '→';
        arrow(layer ? x : centre + (x - centre) * 0.4, y, x, y - 24);
        box(x - 76, y - 70, 152, data.layers.find((one) => one.layer === layer && one.direction === direction),
          `${sign} ${spec.hidden_size} units${spec.proj_size ? `, ${units} out` : ''}`);
        arrow(x + side * 132, y - 58, x + side * 75, y - 58);
        text(x + side * 106, y - 63, states, { class: 'small' });
        arrow(x + side * 75, y - 36, x + side * 132, y - 36);
        text(x + side * 106, y - 20, finals, { class: 'small' });
      });
      if (layer < layers - 1) text(centre, y - row + 15, `h (${between})`, { class: 'small' });
    }
    y -= row;
  }
  directions.forEach((_, which) => arrow(places[which], y + 22, centre + (places[which] - centre) * 0.4, y));
  text(centre, y - 8, `output ${size(shapes.output)}`, { class: 'name' });
  const ends = [['h_n', shapes.h_n], ['c_n', shapes.c_n], ['head', shapes.head]].filter(([, axes]) => axes);
  text(centre, y - 26, ends.map(([name, axes]) => `${name} ${size(axes)}`).join('   '), { class: 'small' });
  return picture;
}
