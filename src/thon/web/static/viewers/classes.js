// Classes with their averages: sorted, chosen by click, Shift and keys, and made a subset of.

import { complain, get, post, tell } from "../api.js";
import { bar, button, choice, element, keys, later, number, slider } from "./dom.js";
import { sheetGrid } from "./sheets.js";
import { query, stateOf } from "./state.js";

const SORTS = { number: ["Number", 1], count: ["Size", -1], resolution: ["Resolution", 1], score: ["Score", -1] };

export async function show(target, view, signal) {
  const found = await get(`${view.url}/classes`, signal);
  const state = stateOf(view, { sort: "count", size: 120, chosen: "", contrast: 3, smooth: 0 });
  const chosen = new Set(state.chosen.split(",").filter(Boolean).map(Number));
  const told = element("output", { class: "viewer-count", "aria-live": "polite", "data-testid": "classes-count" });
  let last = null;

  const order = () => {
    const [, sign] = SORTS[state.sort] ?? SORTS.count;
    const value = (k) => found.classes[k][state.sort] ?? (sign > 0 ? Infinity : -Infinity);
    return [...found.classes.keys()].sort((a, b) => sign * (value(a) - value(b)) || a - b);
  };
  const gallery = sheetGrid(found, {
    sheet: (page) => `${view.url}/classes/sheet/${page}.jpg?${query({ contrast: state.contrast, smooth: state.smooth || null })}`,
    size: state.size,
    order: order(),
    label: "Classes",
    signal,
    decorate: (cell, k) => {
      const one = found.classes[k];
      const share = number(100 * one.share, 3);
      cell.setAttribute("aria-label", `Class ${one.number}: ${one.count} particles, ${number(one.resolution, 3)} Å, score ${number(one.score, 2)}`);
      cell.dataset.number = one.number;
      cell.append(element("span", { class: "viewer-caption" }, element("b", {}, String(one.number)), ` ${number(one.count)} · ${share} %`, element("br"), [one.resolution && `${number(one.resolution, 3)} Å`, one.score !== null && `score ${number(one.score, 2)}`].filter(Boolean).join(" · ")));
      cell.addEventListener("click", (event) => pick(k, event.shiftKey));
    },
  });
  const refresh = () => {
    gallery.cells.forEach((cell, k) => cell.setAttribute("aria-pressed", String(chosen.has(found.classes[k].number))));
    const particles = found.classes.filter((one) => chosen.has(one.number)).reduce((sum, one) => sum + one.count, 0);
    told.textContent = `${chosen.size} of ${found.classes.length} classes, ${number(particles)} of ${number(found.total)} particles`;
    make.disabled = !chosen.size;
    state.set({ chosen: [...chosen].sort((a, b) => a - b).join(",") });
  };
  const pick = (k, range) => {
    const shown = order();
    const wanted = !chosen.has(found.classes[k].number);
    const [from, to] = range && last !== null ? [shown.indexOf(last), shown.indexOf(k)].sort((a, b) => a - b) : [shown.indexOf(k), shown.indexOf(k)];
    for (const at of shown.slice(from, to + 1)) chosen[wanted || range ? "add" : "delete"](found.classes[at].number);
    last = k;
    refresh();
  };
  const choose = (wanted) => {
    const next = found.classes.filter(wanted).map((one) => one.number);
    chosen.clear();
    next.forEach((one) => chosen.add(one));
    refresh();
  };
  const all = () => choose(() => true);
  const none = () => choose(() => false);
  const invert = () => choose((one) => !chosen.has(one.number));
  const make = button("Make subset", () => makeSubset(view, [...chosen].sort((a, b) => a - b), make), { class: "primary", "data-testid": "make-subset", title: "A job with the particles of these classes" });
  target.append(
    bar(
      choice("Sort by", Object.entries(SORTS).map(([key, [text]]) => [key, text]), state.sort, (sort) => { state.set({ sort }); gallery.sort(order()); }),
      slider("Size", { min: 60, max: 260, step: 10, value: state.size, told: (value) => `${value} px`, onslide: (size) => gallery.resize(size), onchange: (size) => state.set({ size }) }),
      slider("Contrast", { min: 0.5, max: 8, step: 0.5, value: state.contrast, told: (value) => `${value} σ`, onslide: later((contrast) => { state.set({ contrast }); gallery.repaint(); }) }),
      button("All", all, { title: "Choose all (a)" }),
      button("None", none, { title: "Choose none (x)" }),
      button("Invert", invert, { title: "Choose the others (i)" }),
      told,
      element("span", { class: "grow" }),
      make,
    ),
    element("div", { class: "viewer-scroll" }, gallery.grid),
  );
  if (found.volumes) target.append(element("p", { class: "muted small" }, "Projections of the classes' maps along z."));
  keys(target, { a: all, x: none, i: invert }, signal);
  refresh();
}

async function makeSubset(view, classes, make) {
  make.disabled = true;
  try {
    const placed = await post(`${document.body.dataset.api}/jobs`, { type: "select", inputs: { particles: [view.job] }, options: { classes } });
    tell(`The particles of ${classes.length} classes go into ${placed.jobs.join(", ")}.`, "good");
  } catch (error) {
    complain(error);
  }
  make.disabled = false;
}
