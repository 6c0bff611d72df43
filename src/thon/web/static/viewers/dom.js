// Elements and controls, all with names that a screen reader tells.

import { tell } from "../api.js";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function bar(...children) {
  return element("div", { class: "viewer-bar" }, ...children);
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

export function toggle(text, pressed, onchange, attributes = {}) {
  const made = button(text, () => set(made.getAttribute("aria-pressed") !== "true", true), attributes);
  const set = (value, tell) => {
    made.setAttribute("aria-pressed", String(value));
    if (tell) onchange(value);
  };
  set(pressed, false);
  made.set = set;
  return made;
}

// A slider with its name and value; `onslide` hears every step, `onchange` the last one.
export function slider(name, { min, max, step, value, told = String, onslide = () => {}, onchange = () => {} }) {
  const output = element("output", {}, told(value));
  const input = element("input", { type: "range", min, max, step, "aria-label": name });
  input.value = value;
  input.addEventListener("input", () => {
    output.textContent = told(Number(input.value));
    onslide(Number(input.value));
  });
  input.addEventListener("change", () => onchange(Number(input.value)));
  const made = element("label", { class: "viewer-slider" }, element("span", {}, name), input, output);
  made.set = (next) => {
    input.value = next;
    output.textContent = told(Number(input.value));
  };
  made.input = input;
  return made;
}

export function choice(name, options, value, onchange, attributes = {}) {
  const made = element("select", { "aria-label": name, ...attributes });
  for (const [key, text] of options) made.append(new Option(text, key, false, String(key) === String(value)));
  made.addEventListener("change", () => onchange(made.value));
  return element("label", { class: "viewer-choice" }, element("span", {}, name), made);
}

export function facts(entries) {
  const list = element("dl", { class: "facts" });
  for (const [name, value] of entries) list.append(element("dt", {}, name), element("dd", {}, value));
  return list;
}

// [name, value, σ, unit] or [name, value, unit] as the API tells them.
export function measured(entries) {
  return facts(
    entries.map((entry) => {
      const [name, value, sigma, unit] = entry.length === 4 ? entry : [entry[0], entry[1], null, entry[2]];
      return [name, `${number(value)}${sigma ? ` ± ${number(sigma)}` : ""}${unit ? ` ${unit}` : ""}`];
    }),
  );
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en").replaceAll(",", "\u202f").replace("-", "−");
  const text = Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? Number(value.toPrecision(digits)).toString() : value.toExponential(2);
  return text.replace("-", "−");
}

// Copies the command that opens a file in ChimeraX; it is told too, for browsers let only pages of this machine copy.
export function chimera(path) {
  const command = `chimerax "${path}"`;
  const copy = async () => {
    const copied = await navigator.clipboard?.writeText(command).then(() => true, () => false);
    tell(copied ? `Copied: ${command}` : command);
  };
  return button("Open in ChimeraX", copy, { title: command, "data-testid": "chimerax" });
}

// Our own names as words; names out of files, such as rlnDefocusU, stay as they are.
export const label = (name) => (/^[a-z\d_. ]+$/.test(name) ? name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase()) : name);

// Keys that work while the pointer is over a viewer, or the focus in it; not while somebody types.
export function keys(target, table, signal) {
  let near = false;
  target.addEventListener("pointerenter", () => (near = true), { signal });
  target.addEventListener("pointerleave", () => (near = false), { signal });
  document.addEventListener(
    "keydown",
    (event) => {
      const typing = event.target.closest?.("input:not([type=range]), select, textarea, dialog[open]");
      if (typing || event.altKey || !(near || target.contains(event.target))) return;
      const name = `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.shiftKey && event.key.length > 1 ? "Shift+" : ""}${event.key}`;
      const act = table[name];
      if (!act || (event.target.type === "range" && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      event.stopPropagation();
      act(event);
    },
    { signal, capture: true },
  );
}

export function later(act, wait = 120) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), wait);
  };
}

// Calls back with the size of an element now and whenever it changes.
export function whenSized(target, act, signal) {
  const observer = new ResizeObserver(([entry]) => {
    if (entry.contentRect.width > 0) act(entry.contentRect.width, entry.contentRect.height);
  });
  observer.observe(target);
  signal.addEventListener("abort", () => observer.disconnect());
}
