// The place that the page shows, as the end of its address: #layer=1&direction=forward&step=7&unit=3, with &quantity=f
// where it shows how a number was computed, and with &shown=gradient where it shows dL/df; #parameter=weight_hh_l0&row=19&column=2
// is a cell of a parameter. So a link can lead to a number, and a page that is loaded again is where it was.

now.layer = data.layers[0];
now.quantity = null;
now.shown = null; // "gradient", or what the quantity itself was computed from

function show(layer) {
  if (now.layer === layer) return;
  now.layer = layer;
  watchers.forEach((watcher) => watcher());
}

function placeWritten() {
  const { layer, direction } = now.layer;
  const run = now.layer.run === data ? '' : `&run=${runs.indexOf(now.layer.run)}`;
  const quantity = now.quantity ? `&quantity=${now.quantity}${now.shown ? `&shown=${now.shown}` : ''}` : '';
  return `#layer=${layer}&direction=${direction}&step=${now.step}&unit=${now.unit}${quantity}${run}`;
}

// Goes where the address says; whether it says anything.
function placeRead() {
  const asked = new URLSearchParams(window.location.hash.slice(1));
  const number = (name) => (/^\d{1,9}$/.test(asked.get(name) ?? '') ? Number(asked.get(name)) : null);
  const [step, unit, layer] = ['step', 'unit', 'layer'].map(number);
  const same = (one) => (layer === null || one.layer === layer)
    && (asked.get('direction') === null || one.direction === asked.get('direction'));
  const there = runs[number('run') ?? 0]?.layers.find(same);
  if (asked.has('parameter')) {
    const there = showParameter(asked.get('parameter'), number('row') ?? 0, number('column') ?? 0);
    if (!there) say('The address of this page names a parameter that the network does not have.');
    return there;
  }
  const said = layer !== null || asked.has('direction') || step !== null || unit !== null;
  if (said && !there) say('The address of this page names a layer that the network does not have.');
  if (said && there) show(there);
  move(step, unit);
  const quantity = asked.get('quantity');
  const gradient = asked.get('shown') === 'gradient' && there && valuesOf(withGradients(there), quantity, 'gradient');
  if (said && gradient) deriveGradient(there, quantity, now.step, Math.min(unit ?? now.unit, gradient.units - 1));
  else if (said && there && quantity in now.layer.derivable.equations) {
    derive(now.layer, quantity, now.step, Math.min(now.unit, valuesOf(now.layer, quantity, 'equations').units - 1));
  }
  return said;
}

let writing = null;
let known = window.location.hash;

// A little later, and once for many moves: browsers count how often an address changes.
// A link that was followed in between is not written over: `hashchange`, which comes after it, reads it.
function writePlace() {
  window.clearTimeout(writing);
  writing = window.setTimeout(() => {
    if (window.location.hash !== known) return;
    window.history.replaceState(null, '', placeWritten());
    known = window.location.hash;
  }, 200);
}

function followPlace() {
  watchers.push(writePlace);
  if (!window.location.hash.startsWith('#parameter=')) writePlace();
  window.addEventListener('hashchange', () => {
    window.clearTimeout(writing); // of a move before it
    known = window.location.hash;
    placeRead();
  });
  document.getElementById('derivation').addEventListener('close', () => {
    now.quantity = null;
    now.shown = null;
    writePlace();
  });
}
