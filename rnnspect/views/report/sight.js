// Canvases are drawn when they come into sight, anew when their size or the colours change, and all of them for paper.

const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.near = entry.isIntersecting;
    if (entry.isIntersecting) entry.target.draw();
  }
}, { rootMargin: '200px' });
const ofSize = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.near && entry.target.draw()));
const everyDrawing = [];

function redraw(wanted = () => true) {
  everyDrawing.filter(wanted).forEach((one) => {
    one.stale = true;
    if (one.near) one.draw();
  });
}

darkness.addEventListener('change', () => redraw());

function whenSeen(element, draw) {
  element.draw = draw;
  everyDrawing.push(element);
  inSight.observe(element);
  ofSize.observe(element);
}
