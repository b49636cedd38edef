// Two scales that do not rest on red against green: one from nothing to much, one around zero. What is above its
// bound has a colour of its own, the stronger the more powers of ten it is above.

const scales = {
  light: {
    much: ['#fdfbe8', '#e9d98a', '#b6b27a', '#7c8a78', '#45607a', '#12285c'],
    around: ['#08306b', '#2b7bba', '#9dc9e6', '#f5f5f2', '#f7bd7e', '#d9701c', '#6e2c00'],
  },
  dark: {
    much: ['#14171f', '#1f3a66', '#3f6a86', '#74977f', '#c0bd70', '#fdf0a0'],
    around: ['#a9d8ff', '#3d8fd6', '#1d4470', '#1b1d22', '#6d3a10', '#d97a25', '#ffd3a1'],
  },
};
const beyond = { light: [214, 0, 110], dark: [255, 64, 160] };
const notNumbers = { light: [120, 60, 160], dark: [190, 130, 235] };
const onPaper = { on: false };
const darkness = window.matchMedia('(prefers-color-scheme: dark)');

function theme() {
  return darkness.matches && !onPaper.on ? 'dark' : 'light';
}

function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

const tables = {};

// 256 colours of a scale.
function tableOf(name) {
  const key = `${theme()} ${name}`;
  if (!tables[key]) {
    const stops = scales[theme()][name].map(channels);
    tables[key] = Array.from({ length: 256 }, (_, at) => {
      const place = (at / 255) * (stops.length - 1);
      const below = Math.min(Math.floor(place), stops.length - 2);
      return stops[below].map((from, c) => Math.round(from + (stops[below + 1][c] - from) * (place - below)));
    });
  }
  return tables[key];
}

const SPANNED = 100; // times as large as the largest of its faintest step: then a gradient has a logarithmic scale

// The scale of finite numbers from `low` to `high`: of a gate that lies between 0 and 1 around 0.5, else around 0. That of
// gradients is logarithmic on both sides of 0 where they span powers of ten, and linear below 1 % of the faintest step.
function scaleOf([low, high, faintest], shown, limits) {
  const some = low <= high;
  if (shown === 'score') return { name: 'much', low: limits[0], high: 1 };
  if (shown === 'ratio') return { name: 'much', low: 0, high: some ? Math.min(high, 1) || 1 : 1, limit: 1, top: some ? high : 1 };
  if (limits && limits[0] === 0) return { name: 'around', low: limits[0], high: limits[1], middle: (limits[0] + limits[1]) / 2 };
  const most = (some && Math.max(-low, high, shown === 'change' ? limits[1] : 0)) || 1;
  const bent = shown === 'gradient' && most / faintest > SPANNED ? faintest / 100 : 0;
  return { name: 'around', low: -most, high: most, middle: 0, bent };
}

// From 0 on, linear up to `bent`, then logarithmic, without an edge; the same below 0.
function bend(value, bent) {
  return Math.sign(value) * Math.log1p(Math.abs(value) / bent);
}

function bentWritten({ bent }) {
  return `log scale, linear below ±${written(bent, 1)}`;
}

function colourOf(scale, value, odd) {
  if (odd) return notNumbers[theme()];
  if (scale.limit !== undefined && value > scale.limit) {
    const weight = 0.4 + 0.6 * (Math.log(value) / Math.log(scale.top));
    const paper = theme() === 'dark' ? 20 : 245;
    return beyond[theme()].map((channel) => Math.round(paper + (channel - paper) * weight));
  }
  const place = scale.bent ? (1 + bend(value, scale.bent) / bend(scale.high, scale.bent)) / 2
    : (value - scale.low) / (scale.high - scale.low);
  return tableOf(scale.name)[Math.max(0, Math.min(255, Math.round(place * 255)))];
}
