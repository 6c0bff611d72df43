// Images of particles, a hundred to a page, sorted and filtered by anything that is known of them.

import { complain, get } from "../api.js";
import { bar, button, choice, element, facts, keys, label, number, slider } from "./dom.js";
import { sheetGrid } from "./sheets.js";
import { query, stateOf } from "./state.js";

export async function show(target, view, signal) {
  const state = stateOf(view, { page: 0, sort: "", descending: true, where: "", smooth: 15, size: 96, contrast: 3 });
  const { columns } = await get(`${view.url}/table?limit=1`, signal);
  const rows = () => ({ sort: state.sort || null, descending: state.sort ? state.descending : null, where: state.where || null });
  const place = element("div", {});
  const about = element("div", { class: "viewer-about" });
  const pages = element("output", { class: "viewer-count" });
  let found;

  const load = async () => {
    try {
      found = await get(`${view.url}/particles?${query(rows())}`, signal);
    } catch (error) {
      return complain(error);
    }
    const last = Math.max(0, Math.ceil(found.count / found.per_sheet) - 1);
    state.set({ page: Math.min(Math.max(state.page, 0), last) });
    pages.textContent = `page ${state.page + 1} of ${last + 1}, ${number(found.count)} of ${number(found.total)} particles`;
    draw();
  };
  const draw = () => {
    const first = state.page * found.per_sheet;
    const onPage = Math.max(0, Math.min(found.per_sheet, found.count - first));
    const sheet = `${view.url}/particles/sheet/${state.page}.jpg?${query({ ...rows(), smooth: state.smooth || null, contrast: state.contrast })}`;
    const grid = sheetGrid(
      { ...found, count: onPage },
      {
        sheet: () => sheet,
        size: state.size,
        label: "Particles",
        signal,
        decorate: (cell, k) => {
          cell.setAttribute("aria-label", `Particle ${first + k + 1} on the list`);
          cell.addEventListener("click", () => tellOf(first + k));
        },
      },
    );
    place.replaceChildren(element("div", { class: "viewer-scroll" }, grid.grid));
  };
  const tellOf = async (row) => {
    const one = await get(`${view.url}/particles/row/${row}?${query(rows())}`, signal);
    about.replaceChildren(element("h3", {}, `Particle ${one.number + 1}`), facts(Object.entries(one.values).map(([name, value]) => [label(name), number(value, 5)])));
  };
  const turn = (step) => {
    state.page += step;
    load();
  };
  target.append(
    bar(
      choice("Sort by", [["", "As they are"], ...columns.map(({ name }) => [name, label(name)])], state.sort, (sort) => { state.set({ sort, page: 0 }); load(); }),
      choice("Order", [["true", "Largest first"], ["false", "Smallest first"]], state.descending, (value) => { state.set({ descending: value === "true", page: 0 }); load(); }),
      element("input", { type: "search", placeholder: "score>0.4", "aria-label": "Only particles with", value: state.where, onchange: (event) => { state.set({ where: event.target.value, page: 0 }); load(); } }),
      slider("Low-pass", { min: 0, max: 60, step: 1, value: state.smooth, told: (value) => (value ? `${value} Å` : "none"), onchange: (smooth) => { state.set({ smooth }); draw(); } }),
      slider("Size", { min: 48, max: 256, step: 8, value: state.size, told: (value) => `${value} px`, onchange: (size) => { state.set({ size }); draw(); } }),
    ),
    bar(
      button("‹", () => turn(-1), { class: "square", "aria-label": "Previous page", title: "Previous page (PageUp)" }),
      button("›", () => turn(1), { class: "square", "aria-label": "Next page", title: "Next page (PageDown)" }),
      pages,
    ),
    element("div", { class: "viewer-aside" }, place, about),
  );
  keys(target, { PageUp: () => turn(-1), PageDown: () => turn(1) }, signal);
  await load();
}
