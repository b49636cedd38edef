// Elements, numbers as text, and arrays out of base64. Whatever came out of a file becomes text, never markup.

const data = JSON.parse(document.getElementById('data').textContent);

function make(tag, settings, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings || {})) {
    if (name in element && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

const main = document.getElementById('main');

function section(title, ...children) {
  const made = make('section', {}, title && make('h2', {}, title), ...children);
  main.append(made);
  return made;
}

function table(names, rows, settings = {}) {
  return make('div', { class: settings.box || 'scroll' }, make('table', { class: settings.class || '' },
    make('thead', {}, make('tr', {}, ...names.map((name) => make('th', { scope: 'col' }, name)))),
    make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((cell, at) => (
      make('td', { 'data-name': names[at] }, cell))))))));
}

function drawn(tag, settings, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(settings || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function numberOf(value) {
  if (value === 'NaN') return NaN;
  if (value === 'Infinity' || value === '-Infinity') return Number(value);
  return value;
}

function written(value, digits = 6) {
  if (value === null || value === undefined) return '?';
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Inf' : '-Inf';
  return String(Number(value.toPrecision(digits)));
}

function counted(count, noun) {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

const kinds = { f4: Float32Array, f8: Float64Array, u2: Uint16Array, u1: Uint8Array, b2: Uint16Array };

// By the browser itself where it can, which is ten times as fast.
function bytesOf(text) {
  return Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

// Unpacked when it is first asked for.
function unpacked(array) {
  if (!array.numbers) {
    array.numbers = new kinds[array.type](bytesOf(array.data).buffer);
    if (array.type === 'b2') array.numbers = new Float32Array(Uint32Array.from(array.numbers, (half) => half << 16).buffer); // the first half of each
    array.data = null;
  }
  return array.numbers;
}

const NAN = 1;
const PLUS = 2;
const MINUS = 4;
const EMPTY = 8;

function range(first, size, count) {
  const last = Math.min(first + size, count) - 1;
  return last > first ? `${first}–${last}` : String(first);
}
