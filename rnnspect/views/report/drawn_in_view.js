// Canvases are drawn when they come into sight, anew when their size or the colours change, and all of them for paper.
// What is nearest to the middle of the screen is drawn first.

const inSight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.near = isIntersecting;
    if (isIntersecting) begin(target, target.draw());
    else leave(target);
  }
}, { rootMargin: '200px' });
const ofSize = new ResizeObserver((entries) => entries.forEach(({ target }) => target.near && begin(target, target.draw())));
const everyDrawing = [];

function redraw(wanted = () => true) {
  everyDrawing.filter(wanted).forEach((one) => {
    one.stale = true;
    if (one.near) begin(one, one.draw());
  });
}

darkness.addEventListener('change', () => redraw());

// `draw` is work, bit by bit.
function whenSeen(element, draw) {
  element.draw = draw;
  everyDrawing.push(element);
  inSight.observe(element);
  ofSize.observe(element);
}

function drawNow(element) {
  leave(element);
  finished(element.draw());
}
