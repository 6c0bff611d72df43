// Numbers and texts of a record.

import { element, facts, label, number } from "./dom.js";

export function show(target, view) {
  const told = (value) => (Array.isArray(value) ? value.map((one) => number(one)).join(" × ") : number(value, 6));
  const entries = view.facts.map(([name, value]) => [label(name).replaceAll(".", " · "), told(value)]);
  const [first, rest] = [entries.slice(0, 12), entries.slice(12)];
  target.append(facts(first));
  if (rest.length) target.append(element("details", {}, element("summary", {}, `${rest.length} more`), facts(rest)));
}
