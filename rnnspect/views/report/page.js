// The page from top to bottom.

header();
controls();
stage();
data.layers.forEach(layerSection);
parametersSection();
const wrong = runs.flatMap((run) => run.layers).find(firstOf);
if (!placeRead() && wrong) {
  show(wrong);
  move(firstOf(wrong).step, firstOf(wrong).unit);
}
followPlace();
document.documentElement.dataset.ready = 'yes';
