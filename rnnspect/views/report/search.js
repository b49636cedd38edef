// The search: "unit 7", "step 30", "forget", "layer 1 reverse h difference", "dL/df".

const SHOWN = { equations: 'equations', engine: 'engine', difference: 'difference', ratio: 'ratio', bound: 'ratio', gradient: 'gradient', 'dl/d': 'gradient' };

// What a text asks for; null for what it does not name.
function askedFor(text) {
  const number = (name) => {
    const found = text.match(new RegExp(`\\b${name}\\s*[=:]?\\s*(\\d{1,9})\\b`));
    return found ? Number(found[1]) : null;
  };
  const [step, unit, index] = ['step', 'unit', 'layer'].map(number);
  const words = text.replace(/\b(step|unit|layer)\s*[=:]?\s*\d+/g, ' ').replace(/\bdl\/d/g, 'dl/d ').split(/[\s,]+/).filter(Boolean);
  const direction = words.find((word) => word === 'forward' || word === 'reverse') ?? null;
  const layer = now.layer.run.layers.find((one) => one.layer === (index ?? now.layer.layer) && one.direction === (direction ?? (index === null ? now.layer.direction : one.direction)));
  const maps = mapsOf(layer ?? now.layer);
  const shown = words.map((word) => SHOWN[word] ?? (word === now.layer.run.name.toLowerCase() ? 'engine' : null)).find(Boolean) ?? null;
  const named = (word) => maps.find((one) => one.quantity.toLowerCase() === word)
    ?? (word.length > 2 ? maps.find((one) => nameOf(one.quantity).split(' ').some((name) => name.startsWith(word))) : null);
  const quantity = words.map(named).find(Boolean)?.quantity ?? (shown ? 'h' : null);
  const asked = [step, unit, index, direction, quantity].some((one) => one !== null);
  return { asked, layer, index, direction, step, unit, quantity, shown };
}

// Goes there; gives what happened.
function goTo(text) {
  const found = askedFor(text.trim().toLowerCase());
  const { layer, step, unit, quantity } = found;
  if (!found.asked) return 'Nothing found. Try: unit 7, step 30, forget, layer 1.';
  if (!layer) return `This network has ${data.layers.map(placeOf).join(', ')}.`;
  const widest = Math.max(data.spec.hidden_size, data.spec.proj_size);
  if (step !== null && step >= data.length) return `No step ${step}: the steps are 0 to ${data.length - 1}.`;
  if (unit !== null && unit >= widest) return `No unit ${unit}: the units are 0 to ${widest - 1}.`;
  show(layer);
  move(step, unit);
  if (found.shown === 'gradient' && !data.loss) return 'This page has no gradients: make it with --backward.';
  const { figures } = found.shown === 'gradient' ? withGradients(layer) : layer;
  const map = quantity && (figures.get(`${quantity} ${found.shown ?? 'equations'}`) ?? figures.get(`${quantity} equations`));
  if (!map) return `${placeOf(layer)}, step ${now.step}, unit ${now.unit}`;
  map.canvas.focus({ preventScroll: true });
  map.figure.scrollIntoView({ block: 'center' });
  return `${map.caption} of ${placeOf(layer)}, step ${now.step}, unit ${now.unit}: ${numberWritten(map.view, now.step, Math.min(now.unit, map.view.units - 1))}`;
}

function searchBox() {
  const input = make('input', { type: 'search', id: 'search', 'aria-label': 'Search: unit 7, step 30, forget', placeholder: 'search: unit 7, forget', title: '/ comes here; Enter goes there' });
  const found = make('output', { class: 'found', for: 'search' });
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    const said = goTo(input.value);
    found.textContent = said;
    say(said);
  });
  input.addEventListener('input', () => { found.textContent = ''; });
  return [input, found];
}
