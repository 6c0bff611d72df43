// How a specimen moved: displacement by frame, and tracks over the micrograph, enlarged.

import { get } from "../api.js";
import { element, measured, number, whenSized } from "./dom.js";
import { plot } from "./plot.js";
import { query, stateOf } from "./state.js";
import { bar, slider } from "./dom.js";

export async function show(target, view, signal) {
  const found = await get(`${view.url}/motion?${query({ source: view.source })}`, signal);
  const state = stateOf(view, { enlarged: suggested(found) });
  const field = element("canvas", { role: "img", "aria-label": "Tracks of parts of the micrograph, enlarged" });
  const image = new Image();
  const draw = () => drawField(field, image, found, state.enlarged);
  const enlarge = slider("Enlarged", { min: 1, max: Math.max(4 * suggested(found), 100), step: 1, value: state.enlarged, told: (value) => `${value}×`, onslide: (enlarged) => { state.enlarged = enlarged; draw(); }, onchange: (enlarged) => state.set({ enlarged }) });
  const right = element("div", {});
  target.append(element("div", { class: "viewer-two" }, element("div", {}, bar(enlarge), element("div", { class: "viewer-field" }, field)), right));
  plot(
    right,
    {
      title: `Motion: ${number(found.travelled.at(-1), 3)} Å in all`,
      x: found.position,
      xName: found.exposed ? "exposure, e/Å²" : "frame",
      yName: "displacement, Å",
      series: [{ name: "y", values: found.y, points: 4 }, { name: "x", values: found.x, points: 4 }, { name: "path", values: found.travelled, colour: 4, dash: [6, 4] }],
      height: 260,
    },
    signal,
  );
  right.append(measured(found.facts));
  const rejected = Object.entries(found.rejected);
  if (rejected.length) right.append(element("p", { class: "muted small" }, `${rejected.length} patches took no part: ${rejected.map(([k, why]) => `${Number(k) + 1} (${why})`).slice(0, 6).join(", ")}.`));
  image.addEventListener("load", draw, { signal });
  image.src = `${view.url}/thumbnail.jpg?${query({ source: view.image })}`;
  whenSized(field.parentElement, draw, signal);
}

function suggested(found) {
  const span = Math.max(...found.tracks.flat(2).map(Math.abs), 1e-3);
  return Math.max(1, Math.round((0.08 * Math.min(...found.extent)) / span));
}

function drawField(canvas, image, found, enlarged) {
  const [width, height] = found.extent;
  const ratio = devicePixelRatio;
  canvas.width = canvas.parentElement.clientWidth * ratio;
  canvas.height = (canvas.width * height) / width;
  const paint = canvas.getContext("2d");
  if (image.complete && image.naturalWidth) paint.drawImage(image, 0, 0, canvas.width, canvas.height);
  paint.fillStyle = "rgb(0 0 0 / 35%)";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  const scale = canvas.width / width;
  const at = (place, moved, first) => [
    (place[0] + 0.5) * canvas.width + (moved[0] - first[0]) * enlarged * scale,
    (0.5 - place[1]) * canvas.height - (moved[1] - first[1]) * enlarged * scale,
  ];
  found.places.forEach((place, k) => {
    if (found.measured) dots(paint, found.measured[k].map((moved) => at(place, moved, found.measured[k][0])), String(k) in found.rejected ? "#e08fbf" : "#f0a030", ratio);
    line(paint, found.tracks[k].map((moved) => at(place, moved, found.tracks[k][0])), ratio);
  });
}

function line(paint, points, ratio) {
  paint.strokeStyle = "#56b4e9";
  paint.lineWidth = 2 * ratio;
  paint.beginPath();
  points.forEach(([x, y], k) => (k ? paint.lineTo(x, y) : paint.moveTo(x, y)));
  paint.stroke();
  dots(paint, points.slice(0, 1), "#ffffff", 2 * ratio);
}

function dots(paint, points, colour, size) {
  paint.fillStyle = colour;
  for (const [x, y] of points) {
    paint.beginPath();
    paint.arc(x, y, 1.4 * size, 0, 2 * Math.PI);
    paint.fill();
  }
}
