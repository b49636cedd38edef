// The bar that stays in sight: play, the step, the unit.

const SPEEDS = [[1, '1 step/s'], [4, '4 steps/s'], [12, '12 steps/s'], [40, '40 steps/s']];
const playing = { timer: null, speed: 4, watchers: [] };

// A layer that runs backwards is played backwards.
function ahead() {
  return now.layer.direction === 'reverse' ? -1 : 1;
}

function play(on = playing.timer === null) {
  window.clearInterval(playing.timer);
  playing.timer = null;
  const end = ahead() > 0 ? data.length - 1 : 0;
  if (on && data.length > 1) {
    if (now.step === end) move(data.length - 1 - end, null);
    playing.timer = window.setInterval(() => {
      move(now.step + ahead(), null);
      if (now.step === (ahead() > 0 ? data.length - 1 : 0)) play(false);
    }, 1000 / playing.speed);
  }
  playing.watchers.forEach((watcher) => watcher());
}

function button(said, label, pressed) {
  const made = make('button', { type: 'button', 'aria-label': label, title: label }, said);
  made.addEventListener('click', pressed);
  return made;
}

function controls() {
  const form = document.getElementById('controls');
  form.addEventListener('submit', (event) => event.preventDefault());
  const widest = Math.max(data.spec.hidden_size, data.spec.proj_size) - 1;
  const last = String(data.length - 1);
  const slider = make('input', { type: 'range', id: 'step', min: '0', max: last, value: '0', 'aria-label': 'Step' });
  const step = make('input', { type: 'number', id: 'exactly', min: '0', max: last, value: '0', 'aria-label': 'Step, as a number' });
  const unit = make('input', { type: 'number', id: 'unit', min: '0', max: String(widest), value: '0', 'aria-label': 'Unit' });
  const speed = make('select', { 'aria-label': 'Speed', title: 'Speed' }, ...SPEEDS.map(([value, said]) => (
    make('option', { value: String(value), selected: value === playing.speed }, said))));
  speed.addEventListener('change', () => {
    playing.speed = Number(speed.value);
    if (playing.timer !== null) play(true);
  });
  slider.addEventListener('input', () => move(slider.valueAsNumber, null));
  step.addEventListener('change', () => move(step.valueAsNumber, null));
  unit.addEventListener('change', () => move(null, unit.valueAsNumber));
  const toggle = button('▶', 'Play', () => play());
  toggle.id = 'play';
  form.append(make('div', { class: 'buttons' },
    button('◀', 'One step back', () => move(now.step - 1, null)), toggle,
    button('▶|', 'One step forward', () => move(now.step + 1, null)), speed),
  make('label', { class: 'wide' }, 'step ', slider), step, make('label', {}, 'unit ', unit), ...searchBox());
  playing.watchers.push(() => {
    const on = playing.timer !== null;
    toggle.textContent = on ? '❚❚' : '▶';
    toggle.title = on ? 'Pause' : 'Play';
    toggle.setAttribute('aria-label', toggle.title);
  });
  const layer = runs.flatMap((run) => run.layers).find(firstOf);
  if (layer) {
    const first = firstOf(layer);
    form.append(button('first difference', 'first difference', () => {
      derive(layer, first.quantity, first.step, first.unit);
    }));
  }
  watch(() => {
    slider.value = now.step;
    step.value = now.step;
    unit.value = now.unit;
  });
}
