// How a refinement or a classification came about.

import { get } from "../api.js";
import { element } from "./dom.js";
import { plot } from "./plot.js";

const TITLES = {
  resolution: ["Resolution", "Å"], probability: ["Share of the best pose", "Pmax"], changed: ["Changed their class", "fraction"],
  angular_step: ["Step of the rotations", "°"], offset_step: ["Step of the shifts", "Å"], accuracy: ["Accuracy", "°, Å"],
  changes: ["Changes of the poses", "°, Å"], significant: ["Poses that matter", "mean number"], shares: ["Shares of the classes", "1"],
  likelihood: ["Log-likelihood", ""],
};

export async function show(target, view, signal) {
  const { columns } = await get(`${view.url}/iterations`, signal);
  const count = Object.values(columns)[0]?.length ?? 0;
  if (!count) return target.append(element("p", { class: "muted" }, "No iteration is done yet."));
  const x = columns.iteration ?? [...Array(count).keys()].map((k) => k + 1);
  const grid = element("div", { class: "viewer-plots" });
  target.append(grid);
  for (const [name, [title, unit]] of Object.entries(TITLES).filter(([key]) => columns[key]?.some((value) => value !== null))) {
    const values = columns[name];
    const many = Array.isArray(values[0]);
    const names = values[0]?.length === 2 && name !== "shares" ? ["rotations, °", "shifts, Å"] : values[0]?.map?.((_, k) => `class ${k + 1}`);
    const lines = many ? names.map((one, k) => ({ name: one, values: values.map((row) => row[k] ?? null), points: 5 })) : [{ name: title, values, points: 5 }];
    plot(grid, { title, x, xName: "iteration", yName: unit, series: lines.slice(0, 12), height: 230 }, signal);
  }
}
