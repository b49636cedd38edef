// A canvas between its axes: what a heat map and a line over time have in common.

const FAR = { x: 46, y: 15 };

// A frame with names of both axes; `height` in pixels. Its canvas fills `plot`, on which marks are laid in percent.
function frame(label, height, [across, down], settings = {}) {
  const canvas = make('canvas', { 'aria-label': label, ...settings });
  const plot = make('div', { class: 'plot' }, canvas);
  plot.style.height = `${height}px`;
  const left = make('div', { class: 'axis down' });
  const below = make('div', { class: 'axis across' });
  const corner = make('div', { class: 'axis corner', 'aria-hidden': 'true' }, down);
  below.setAttribute('aria-hidden', 'true');
  left.setAttribute('aria-hidden', 'true');
  const whole = make('div', { class: 'frame' }, left, plot, corner, below);
  // `ticks` are { at, said }: a share of the length, and what stands there; those too close to the one before are left out.
  const ticks = (axis, side, marks) => {
    const length = side === 'left' ? axis.clientWidth : axis.clientHeight;
    let free = -Infinity;
    const end = side === 'left' ? length - 52 : Infinity; // where the name of the axis stands
    axis.replaceChildren(...marks.filter(({ at }) => {
      const place = at * length;
      if (place < free || place > end) return false;
      free = place + (side === 'left' ? FAR.x : FAR.y);
      return true;
    }).map(({ at, said }) => {
      const tick = make('span', { class: 'tick' }, said);
      tick.style[side] = `${at * 100}%`;
      return tick;
    }));
    if (side === 'left') axis.append(make('span', { class: 'name' }, across));
  };
  return {
    whole,
    canvas,
    plot,
    left,
    across: below,
    names: [across, down],
    ticksAcross: (marks) => ticks(below, 'left', marks),
    ticksDown: (marks) => ticks(left, 'top', marks),
  };
}

// 1, 2 or 5 times a power of ten, so that `length` is cut into at most `most` pieces.
function pace(length, most) {
  const least = length / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least);
}

// Ticks for whole numbers from `first` up to `after`; `at` says where one stands.
function wholeTicks(first, after, most, at) {
  const every = pace(after - first, most);
  const marks = [];
  for (let one = Math.ceil(first / every) * every; one < after; one += every) marks.push({ at: at(one), said: String(one) });
  return marks;
}
