// Work that takes long, bit by bit, so that the page answers meanwhile. Such work is a generator: it yields between two
// bits, and with a number it says what share of the numbers it has computed.

const BIT = 12; // milliseconds of work before the page may answer
const MANY = 30000; // numbers that are looked at in one bit
const waiting = new Map(); // what each element waits for
const working = { on: false, timer: null };

// Begins the work of an element, from the beginning where it was under way.
function begin(element, work) {
  waiting.set(element, work);
  proceed();
}

// The element waits for nothing more.
function leave(element) {
  waiting.delete(element);
  signed(element, null);
}

// What is nearest to the middle of the screen.
function nearest() {
  const far = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return Math.abs(top + bottom - window.innerHeight);
  };
  return [...waiting.keys()].map((element) => ({ element, far: far(element) }))
    .reduce((one, other) => (other.far < one.far ? other : one)).element;
}

function proceed() {
  if (working.on) return; // a bit of work began another one: the loop below comes to it
  working.on = true;
  window.clearTimeout(working.timer);
  const until = performance.now() + BIT;
  try {
    while (waiting.size && performance.now() < until) {
      const element = nearest();
      const work = waiting.get(element);
      const { done, value } = work.next();
      if (value !== undefined) signed(element, value);
      if (done && waiting.get(element) === work) leave(element);
    }
  } finally {
    working.on = false;
  }
  waiting.forEach((_, element) => signed(element));
  if (waiting.size) working.timer = window.setTimeout(proceed);
}

// A visible sign that an element waits: "computing 40 %"; none with null.
function signed(element, share = undefined) {
  const place = element.closest('.plot, .sorting');
  if (share === null) delete place.dataset.computing;
  else if (share !== undefined) place.dataset.computing = `computing ${Math.floor(100 * share)} %`;
  else place.dataset.computing ??= 'computing';
  element.setAttribute('aria-busy', String(share !== null));
}

// Whether to yield before a row, where each row has so many numbers.
function pauses(row, columns) {
  return row > 0 && row % Math.max(1, Math.floor(MANY / columns)) === 0;
}

// Does all of the work now; what it results in.
function finished(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

// Work that several wait for: each of them goes on where another stopped. `result` is null until it is done.
function shared(work) {
  const it = {
    result: null,
    going: null,
    * ready() {
      while (it.result === null) {
        it.going ??= work();
        const { done, value } = it.going.next();
        if (done) it.result = value;
        else yield value;
      }
    },
  };
  return it;
}
