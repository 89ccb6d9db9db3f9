// What the server did in the last minutes, as small plots.

import { ask } from "./api.js";
import { byId, el } from "./dom.js";
import { attempt } from "./page.js";

/** As often as the server takes a sample. */
const LOOK_MS = 5000;

const [WIDTH, HEIGHT, TOP] = [300, 80, 6];

const DIGITS = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const written = (value, unit) => (value === null || value === undefined ? "–" : `${DIGITS.format(value)}${unit ? ` ${unit}` : ""}`);

/** The next larger of 1, 2, 5, 10, 20, … so that the scale seldom changes. */
function scaleFor(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most) ?? most;
}

/** The pieces of a line; where a value is missing it has a gap. */
function pieces(values, span, scale) {
  const found = [];
  let piece = null;
  values.forEach((value, at) => {
    if (value === null) {
      piece = null;
      return;
    }
    if (piece === null) found.push(piece = []);
    const x = WIDTH - (values.length - 1 - at) * (WIDTH / span);
    piece.push([x.toFixed(1), (HEIGHT - (value / scale) * (HEIGHT - TOP)).toFixed(1)]);
  });
  return found;
}

function plotOf(plot, span) {
  const most = Math.max(0, ...plot.lines.flatMap((line) => line.values.filter((value) => value !== null)));
  const scale = scaleFor(most);
  const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const y of [TOP, (HEIGHT + TOP) / 2, HEIGHT]) image.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
  plot.lines.forEach((line, number) => {
    for (const piece of pieces(line.values, span, scale)) {
      const points = piece.map((point) => point.join(",")).join(" ");
      if (plot.lines.length === 1) {
        const area = `${piece[0][0]},${HEIGHT} ${points} ${piece.at(-1)[0]},${HEIGHT}`;
        image.append(svg("polygon", { class: "area", points: area }));
      }
      image.append(svg("polyline", { class: `line line-${number}`, points }));
    }
  });
  const now = plot.lines.map((line, number) => {
    const name = plot.lines.length > 1 ? el("span", { class: `key-of line-${number}` }, `${line.name} `) : null;
    return el("span", { class: "now" }, name, el("b", {}, written(line.values.at(-1), plot.unit)));
  });
  return el("figure", {},
    el("figcaption", {}, el("span", { class: "title" }, plot.title), ...now),
    image,
    el("p", { class: "axis" }, el("span", {}, "15 min ago"), el("span", {}, `top ${written(scale, plot.unit)}`), el("span", {}, "now")),
  );
}

async function look() {
  const figures = await attempt(() => ask("GET", "/admin/figures/"));
  if (!figures) return;
  const plots = figures.plots.map((plot) => plotOf(plot, figures.samples_max - 1));
  byId("plots").replaceChildren(...plots);
}

setInterval(() => {
  if (!document.hidden) look();
}, LOOK_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
await look();
