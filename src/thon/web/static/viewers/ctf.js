// A micrograph's power spectrum with the zeros of its CTF as rings, and the fitted curves.

import { get } from "../api.js";
import { bar, element, measured, number, slider, toggle, whenSized } from "./dom.js";
import { plot, spacing } from "./plot.js";
import { query, stateOf } from "./state.js";
import { font } from "./theme.js";

export async function show(target, view, signal) {
  const found = await get(`${view.url}/ctf?${query({ source: view.source })}`, signal);
  const widest = found.resolution ? Math.min(found.finest, 1.15 / found.resolution) : found.finest;
  const state = stateOf(view, { rings: true, to: Number((1 / widest).toPrecision(3)), contrast: 3 });
  const canvas = element("canvas", { role: "img", "aria-label": "Power spectrum with the zeros of the CTF" });
  const image = new Image();
  const load = () => (image.src = `${view.url}/spectrum.jpg?${query({ source: view.source, contrast: state.contrast })}`);
  const draw = () => drawSpectrum(canvas, image, found, state);
  const finest = 1 / found.finest;
  const controls = bar(
    found.rings.length > 0 && toggle("Rings", state.rings, (rings) => { state.set({ rings }); draw(); }, { title: "Show the zeros of the CTF (r)" }),
    slider("To", { min: finest, max: Math.max(30, finest), step: 0.1, value: state.to, told: (value) => `${number(value, 3)} Å`, onslide: (to) => { state.to = to; draw(); }, onchange: (to) => state.set({ to }) }),
    slider("Contrast", { min: 0.5, max: 10, step: 0.1, value: state.contrast, told: (value) => `${value} σ`, onchange: (contrast) => { state.set({ contrast }); load(); } }),
  );
  const right = element("div", {});
  target.append(element("div", { class: "viewer-two" }, element("div", {}, controls, element("div", { class: "viewer-field viewer-square" }, canvas)), right));
  if (found.curves) {
    const clipped = found.curves.measured.map((value) => (value === null ? null : Math.min(Math.max(value, -0.5), 1.5)));
    plot(
      right,
      {
        title: `Rings to ${number(found.resolution, 3)} Å`,
        x: found.curves.frequency,
        xName: "spacing",
        yName: "power",
        tellX: spacing,
        rangeY: () => [-0.5, 1.5],
        series: [{ name: "measured", values: clipped, colour: 4, width: 1 }, { name: "model", values: found.curves.model, colour: 0 }, { name: "agreement", values: found.curves.correlation, colour: 1, width: 2 }],
        marks: found.resolution ? [{ x: 1 / found.resolution, text: `${number(found.resolution, 3)} Å`, colour: 3 }] : [],
      },
      signal,
    );
  }
  right.append(found.facts.length ? measured(found.facts) : element("p", { class: "muted" }, "No CTF was fitted to this micrograph yet."));
  for (const text of found.warnings) right.append(element("p", { class: "warn small" }, text));
  image.addEventListener("load", draw, { signal });
  whenSized(canvas.parentElement, draw, signal);
  load();
}

function drawSpectrum(canvas, image, found, state) {
  const ratio = devicePixelRatio;
  const side = canvas.parentElement.clientWidth * ratio;
  canvas.width = canvas.height = side;
  const paint = canvas.getContext("2d");
  if (!image.complete || !image.naturalWidth) return;
  const shown = Math.min(1 / state.to / found.finest, 1);
  const width = image.naturalWidth;
  paint.imageSmoothingEnabled = true;
  paint.drawImage(image, ((1 - shown) / 2) * width, ((1 - shown) / 2) * width, shown * width, shown * width, 0, 0, side, side);
  if (!state.rings) return;
  const scale = (side / 2) * state.to;
  paint.lineWidth = 1.1 * ratio;
  found.rings.forEach((ring, k) => {
    paint.strokeStyle = k % 2 ? "rgb(240 160 48 / 75%)" : "rgb(86 180 233 / 85%)";
    paint.beginPath();
    // On the right only, so that the spectrum can be compared with the left.
    const half = [...ring.slice(Math.ceil(ring.length * 0.75)), ...ring.slice(1, Math.floor(ring.length / 4) + 1)];
    half.forEach(([x, y], i) => (i ? paint.lineTo(side / 2 + x * scale, side / 2 - y * scale) : paint.moveTo(side / 2 + x * scale, side / 2 - y * scale)));
    paint.stroke();
  });
  paint.fillStyle = "#ffffff";
  paint.font = font(ratio);
  paint.fillText(`edge ${number(state.to, 3)} Å`, 8 * ratio, side - 10 * ratio);
}
