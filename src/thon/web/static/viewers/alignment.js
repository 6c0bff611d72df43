// How a tilt series was aligned, and its CTF: each number by tilt, with the excluded tilts marked.

import { get } from "../api.js";
import { element } from "./dom.js";
import { plot } from "./plot.js";
import { query } from "./state.js";

// Title, unit, and the columns that are drawn together.
const PLOTS = [
  ["Shifts", "Å", { shift_y: "y", shift_x: "x" }],
  ["Residual", "Å", { residual: "RMS" }],
  ["Tilt axis", "°", { axis: "axis" }],
  ["Rotation about x", "°", { x_tilt: "x" }],
  ["Agreement with the others", "correlation", { correlation: "correlation" }],
  ["Local motion", "Å", { local: "RMS" }],
  ["Standard deviation of the shifts", "Å", { shift_sigma: "σ" }],
  ["Defocus", "Å", { defocus_u: "u", defocus_v: "v" }],
  ["CTF fit", "correlation", { score: "score" }],
  ["CTF rings to", "Å", { resolution: "rings to" }],
  ["Direction of astigmatism", "°", { astigmatism_angle: "angle" }],
  ["Exposure before", "e/Å²", { prior_exposure: "exposure" }],
];

export async function show(target, view, signal) {
  const found = await get(`${view.url}/tilts?${query({ source: view.source })}`, signal);
  const { columns } = found;
  const order = [...columns.tilt.keys()].sort((a, b) => columns.tilt[a] - columns.tilt[b]);
  const sorted = (values) => order.map((k) => values[k]);
  const marks = Object.keys(found.excluded).map((k) => ({ x: columns.tilt[k], colour: 3 }));
  const grid = element("div", { class: "viewer-plots" });
  target.append(grid);
  for (const [title, unit, names] of PLOTS) {
    const there = Object.entries(names).filter(([name]) => varies(columns[name]));
    if (!there.length) continue;
    const lines = there.map(([name, text]) => ({ name: text, values: sorted(columns[name]).map((value, k) => (String(order[k]) in found.excluded ? null : value)), points: 4 }));
    plot(grid, { title, x: sorted(columns.tilt), xName: "tilt, °", yName: unit, series: lines, marks, height: 230 }, signal);
  }
  if (found.axis_search) plot(grid, { title: "Search of the tilt axis", x: found.axis_search.angle, xName: "angle, °", yName: "score", series: [{ name: "score", values: found.axis_search.score, points: 4 }], height: 230 }, signal);
  if (found.thickness) {
    const { z, signal: strength, lower, upper } = found.thickness;
    plot(grid, { title: "Sample along z", x: z, xName: "height, Å", yName: "signal", series: [{ name: "signal", values: strength }], marks: [{ x: lower, colour: 1, text: "lower face" }, { x: upper, colour: 1, text: "upper face" }], height: 230 }, signal);
  }
  if (marks.length) target.append(element("p", { class: "muted small" }, "Dashed lines mark excluded tilts."));
}

function varies(values) {
  const known = values?.filter((value) => value !== null) ?? [];
  return known.length > 1 && known.some((value) => value !== known[0]);
}
