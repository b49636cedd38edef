// The place that the page shows, as the end of its address: #layer=1&direction=forward&step=7&unit=3. So a link can
// lead to a number, and a page that is loaded again is where it was.

now.layer = data.layers[0];

function show(layer) {
  if (now.layer === layer) return;
  now.layer = layer;
  watchers.forEach((watcher) => watcher());
}

function placeWritten() {
  const { layer, direction } = now.layer;
  return `#layer=${layer}&direction=${direction}&step=${now.step}&unit=${now.unit}`;
}

// Goes where the address says; whether it says anything.
function placeRead() {
  const asked = new URLSearchParams(window.location.hash.slice(1));
  const number = (name) => (/^\d{1,9}$/.test(asked.get(name) ?? '') ? Number(asked.get(name)) : null);
  const [step, unit, layer] = ['step', 'unit', 'layer'].map(number);
  const same = (one) => (layer === null || one.layer === layer)
    && (asked.get('direction') === null || one.direction === asked.get('direction'));
  const there = data.layers.find(same);
  const said = layer !== null || asked.has('direction') || step !== null || unit !== null;
  if (said && !there) say('The address of this page names a layer that the network does not have.');
  if (said && there) show(there);
  move(step, unit);
  return said;
}

let writing = null;

// A little later, and once for many moves: browsers count how often an address changes.
function followPlace() {
  watch(() => {
    window.clearTimeout(writing);
    writing = window.setTimeout(() => window.history.replaceState(null, '', placeWritten()), 200);
  });
  window.addEventListener('hashchange', placeRead);
}
