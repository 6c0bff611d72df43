// Numbers and texts of a record.

import { element, facts, label, number } from "./dom.js";

// Of the numbers that have one, by the last part of their names.
const UNITS = {
  angle: "°", b_factor: "Å²", cs: "mm", defocus_u: "Å", defocus_v: "Å", diameter: "Å", exposure: "e/Å²", frame_exposure: "e/Å²", lower: "Å", phase_shift: "°",
  pixel_size: "Å", prior_exposure: "e/Å²", resolution: "Å", thickness: "Å", total: "Å", upper: "Å", voltage: "kV", voxel_size: "Å",
};

export function show(target, view) {
  const plain = (value) => (Array.isArray(value) ? value.map((one) => number(one)).join(" × ") : number(value, 6));
  const told = (name, value) => (typeof value === "string" ? value : `${plain(value)} ${UNITS[name.split(".").pop()] ?? ""}`.trim());
  const entries = view.facts.map(([name, value]) => [label(name).replaceAll(".", " · "), told(name, value)]);
  const [first, rest] = [entries.slice(0, 12), entries.slice(12)];
  target.append(facts(first));
  if (rest.length) target.append(element("details", {}, element("summary", {}, `${rest.length} more`), facts(rest)));
}
