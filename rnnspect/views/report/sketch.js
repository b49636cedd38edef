// The strokes of which a drawing of a cell is made. Every number in it follows the step and the unit.

const BOX = { wide: 60, high: 40 };

// A part of a drawing that is a button, by pointer and by key.
function pressable(part, label, press) {
  part.setAttribute('role', 'button');
  part.setAttribute('tabindex', '0');
  part.setAttribute('aria-label', label);
  part.addEventListener('click', press);
  part.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    press();
  });
}

// What is added to a drawing comes out as `picture`; `of` gives a number out of those of a step, see cell.js.
function sketch(width, height, label) {
  const picture = drawn('svg', { viewBox: `0 0 ${width} ${height}`, class: 'cell', role: 'group', 'aria-label': label });
  const follows = [];
  const add = (tag, settings, ...children) => picture.appendChild(drawn(tag, settings, ...children));
  const dot = (cx, cy) => add('circle', { cx, cy, r: 3, class: 'dot' });
  const box = (x, y, sign, { below = '', title = '', wide = BOX.wide, press = null, limits = null, of = null } = {}) => {
    const [left, top] = [x - wide / 2, y - BOX.high / 2];
    const level = drawn('rect', { x: left, y: top, width: wide, height: 0, rx: 5, class: 'level' });
    const made = add('g', { class: press ? 'gate pressed' : 'gate' }, drawn('title', {}, title),
      drawn('rect', { x: left, y: top, width: wide, height: BOX.high, rx: 5, class: 'face' }), level,
      drawn('text', { x, y: y + (below ? -1 : 5), class: 'sign' }, sign), drawn('text', { x, y: y + 14, class: 'below' }, below));
    if (press) pressable(made, title, press);
    if (!limits) return;
    follows.push((numbers) => { // filled as far as the gate is open
      const share = ((of(numbers) ?? limits[0]) - limits[0]) / (limits[1] - limits[0]);
      const high = share > 0 ? BOX.high * Math.min(1, share) : 0;
      level.setAttribute('height', high);
      level.setAttribute('y', top + BOX.high - high);
    });
  };
  return {
    picture,
    dot,
    box,
    body: (x, y, wide, high) => add('rect', { x, y, width: wide, height: high, rx: 12, class: 'body' }),
    text: (x, y, said, settings) => add('text', { x, y, 'aria-hidden': 'true', ...settings }, said),
    number: (x, y, name, of, look = '') => {
      const value = drawn('tspan', { class: 'number' });
      add('text', { x, y, class: look, 'aria-hidden': 'true' }, drawn('tspan', { class: 'name' }, name && `${name} `), value);
      follows.push((numbers) => {
        const found = of(numbers);
        value.textContent = found === null ? '' : written(found, 4);
      });
    },
    // A line through points, with an arrow at its end, or a dot where it leaves another line.
    wire: (points, settings = {}) => {
      add('polyline', {
        points: points.join(' '),
        class: settings.dashed ? 'wire dashed' : 'wire',
        ...(settings.arrow === false ? {} : { 'marker-end': 'url(#arrowhead)' }),
      });
      if (settings.dot) dot(...points[0]);
    },
    operator: (x, y, sign, title) => add('g', { class: 'operator' }, drawn('title', {}, title),
      drawn('circle', { cx: x, cy: y, r: 12 }), drawn('text', { x, y: y + 5, class: 'sign' }, sign)),
    follow: (numbers) => follows.forEach((one) => one(numbers)),
  };
}
