// Any table: sorted, filtered and paged by the server; two columns as a plot, from which rows can be chosen.

import { complain, Fault, get } from "../api.js";
import { bar, button, choice, element, keys, label, later, number, whenSized } from "./dom.js";
import { query, stateOf } from "./state.js";
import { colours, font, onTheme, rem } from "./theme.js";

const PAGE = 50;

export async function show(target, view, signal) {
  const state = stateOf(view, { sort: "", descending: false, where: "", offset: 0, x: view.x ?? "", y: view.y ?? "", plot: false, block: "" });
  const base = () => ({ source: view.source || null, block: state.block || null, where: state.where ? state.where.split(";") : null });
  const rows = () => ({ ...base(), sort: state.sort || null, descending: state.sort ? state.descending : null });
  const holder = element("div", { class: "scroll viewer-rows" });
  const told = element("output", { class: "viewer-count", "aria-live": "polite" });
  const picture = element("div", {});
  const controls = bar();
  target.append(controls, picture, holder);
  let found;

  const load = async () => {
    try {
      found = await get(`${view.url}/table?${query({ ...rows(), offset: state.offset, limit: PAGE })}`, signal);
    } catch (error) {
      filter.setAttribute("aria-invalid", "true");
      return complain(error);
    }
    filter.removeAttribute("aria-invalid");
    told.textContent = `${found.count ? number(found.offset + 1) : 0}–${number(found.offset + found.rows.length)} of ${number(found.count)}${found.count === found.total ? "" : ` (${number(found.total)} in all)`}`;
    save.href = `${view.url}/table.csv?${query(rows())}`;
    holder.replaceChildren(table());
  };
  const table = () => {
    const head = element("tr", {}, ...found.columns.map(header));
    const body = found.rows.map((row) => element("tr", {}, ...row.map((value, k) => element("td", { class: found.columns[k].number ? "n" : "" }, found.columns[k].number ? number(value, 6) : (value ?? "")))));
    return element("table", { class: "data" }, element("thead", {}, head), element("tbody", {}, ...body));
  };
  const header = ({ name, number: numeric }) => {
    const active = state.sort === name;
    const order = active ? (state.descending ? "descending" : "ascending") : null;
    const turn = () => { state.set({ sort: name, descending: active && !state.descending, offset: 0 }); load(); };
    return element("th", { scope: "col", "aria-sort": order, class: numeric ? "n" : "" }, element("button", { type: "button", class: "quiet viewer-sort", onclick: turn, title: "Sort" }, `${label(name)}${active ? (state.descending ? " ▾" : " ▴") : ""}`));
  };
  const turn = (step) => {
    const next = state.offset + step * PAGE;
    if (next < 0 || next >= found.count) return;
    state.set({ offset: next });
    load();
  };
  const filter = element("input", { type: "search", value: state.where, placeholder: "score>0.4; micrograph~0007", "aria-label": "Only rows with", onchange: () => { state.set({ where: filter.value, offset: 0 }); load(); drawPlot(); } });
  const save = element("a", { class: "button", download: "" }, "CSV");
  await load();
  if (!found) return;
  const numbers = found.columns.filter((one) => one.number).map(({ name }) => [name, label(name)]);
  if (!numbers.some(([name]) => name === state.x)) state.x = numbers[0]?.[0] ?? "";
  if (!numbers.some(([name]) => name === state.y)) state.y = numbers[1]?.[0] ?? state.x;

  const drawPlot = async () => {
    picture.replaceChildren();
    if (!state.plot || !numbers.length) return;
    try {
      const points = await fetchPoints(`${view.url}/table/plot?${query({ ...base(), x: state.x, y: state.y })}`, signal);
      scatter(picture, points, state, (ranges) => {
        const conditions = [...state.where.split(";").filter(Boolean), ...ranges];
        filter.value = conditions.join(";");
        filter.dispatchEvent(new Event("change"));
      }, signal);
    } catch (error) {
      complain(error);
    }
  };
  const details = element("details", { open: state.plot, ontoggle: () => { if (details.open !== state.plot) { state.set({ plot: details.open }); drawPlot(); } } },
    element("summary", {}, "Plot two columns"),
    bar(choice("Across", numbers, state.x, (x) => { state.set({ x }); drawPlot(); }), choice("Up", numbers, state.y, (y) => { state.set({ y }); drawPlot(); })),
  );
  picture.before(details);
  controls.append(
    filter,
    found.blocks.length > 1 ? choice("Table", found.blocks.map((name) => [name, name]), state.block || found.blocks[0], (block) => { state.set({ block, offset: 0, sort: "" }); load(); }) : "",
    button("‹", () => turn(-1), { class: "square", "aria-label": "Previous rows" }),
    button("›", () => turn(1), { class: "square", "aria-label": "Next rows" }),
    told,
    element("span", { class: "grow" }),
    save,
  );
  keys(target, { PageUp: () => turn(-1), PageDown: () => turn(1) }, signal);
  if (state.plot) drawPlot();
}

// Two columns as `thon.web.views.tables` packs them.
async function fetchPoints(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Fault(response.status, await response.json());
  const data = await response.arrayBuffer();
  const count = data.byteLength / 12;
  return { x: new Float32Array(data, 0, count), y: new Float32Array(data, 4 * count, count) };
}

// Points on a canvas: a hundred thousand are drawn in some milliseconds. A rectangle chooses rows.
function scatter(target, points, state, choose, signal) {
  const canvas = element("canvas", { role: "img", "aria-label": `${label(state.y)} against ${label(state.x)}, ${points.x.length} points; drag a rectangle to choose rows` });
  target.append(element("div", { class: "viewer-field" }, canvas), element("p", { class: "muted small" }, `${number(points.x.length)} points. Drag a rectangle to keep the rows in it.`));
  const known = Array.from(points.x, (x, k) => [x, points.y[k]]).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  const range = (axis) => {
    const values = known.map((one) => one[axis]);
    const [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
    const margin = (high - low || 1) * 0.03;
    return [low - margin, high + margin];
  };
  if (!known.length) return;
  const [across, up] = [range(0), range(1)];
  const edge = { left: 68 * rem(), bottom: 40 * rem(), top: 10, right: 12 };
  let drag = null;
  const size = () => ({ width: canvas.width / devicePixelRatio, height: canvas.height / devicePixelRatio });
  const toX = (x) => edge.left + ((x - across[0]) / (across[1] - across[0])) * (size().width - edge.left - edge.right);
  const toY = (y) => size().height - edge.bottom - ((y - up[0]) / (up[1] - up[0])) * (size().height - edge.top - edge.bottom);
  const draw = () => {
    const theme = colours();
    const width = canvas.parentElement.clientWidth;
    Object.assign(canvas, { width: width * devicePixelRatio, height: Math.min(width * 0.5, 460 * rem()) * devicePixelRatio });
    const paint = canvas.getContext("2d");
    paint.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    drawFrame(paint, size(), edge, across, up, toX, toY, theme, state);
    paint.fillStyle = theme.series[0];
    paint.globalAlpha = known.length > 20000 ? 0.25 : 0.6;
    const dot = known.length > 20000 ? 1.5 : 3;
    for (const [x, y] of known) paint.fillRect(toX(x) - dot / 2, toY(y) - dot / 2, dot, dot);
    paint.globalAlpha = 1;
    if (drag) {
      paint.strokeStyle = theme.accent;
      paint.strokeRect(drag.x0, drag.y0, drag.x1 - drag.x0, drag.y1 - drag.y0);
    }
  };
  const back = (x, y) => [across[0] + ((x - edge.left) / (size().width - edge.left - edge.right)) * (across[1] - across[0]), up[0] + ((size().height - edge.bottom - y) / (size().height - edge.top - edge.bottom)) * (up[1] - up[0])];
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); drag = { x0: event.offsetX, y0: event.offsetY, x1: event.offsetX, y1: event.offsetY }; });
  canvas.addEventListener("pointermove", (event) => { if (drag) { Object.assign(drag, { x1: event.offsetX, y1: event.offsetY }); draw(); } });
  canvas.addEventListener("pointerup", () => {
    const done = drag;
    drag = null;
    if (!done || Math.abs(done.x1 - done.x0) < 5 || Math.abs(done.y1 - done.y0) < 5) return draw();
    const [a, b] = [back(done.x0, done.y0), back(done.x1, done.y1)];
    const text = (value) => String(Number(value.toPrecision(6)));
    choose([0, 1].flatMap((axis) => [`${[state.x, state.y][axis]}>=${text(Math.min(a[axis], b[axis]))}`, `${[state.x, state.y][axis]}<=${text(Math.max(a[axis], b[axis]))}`]));
  });
  whenSized(canvas.parentElement, later(draw, 0), signal);
  onTheme(draw, signal);
}

function drawFrame(paint, { width, height }, edge, across, up, toX, toY, theme, state) {
  paint.strokeStyle = theme.border;
  paint.fillStyle = theme.muted;
  paint.font = font();
  paint.lineWidth = 1;
  for (const x of ticks(...across)) {
    paint.strokeRect(toX(x), edge.top, 0.01, height - edge.top - edge.bottom);
    paint.textAlign = "center";
    paint.fillText(number(x), toX(x), height - edge.bottom + 16 * rem());
  }
  for (const y of ticks(...up)) {
    paint.strokeRect(edge.left, toY(y), width - edge.left - edge.right, 0.01);
    paint.textAlign = "right";
    paint.fillText(number(y), edge.left - 6, toY(y) + 4);
  }
  paint.textAlign = "center";
  paint.fillText(label(state.x), (edge.left + width) / 2, height - 6);
  paint.save();
  paint.translate(12 * rem(), height / 2);
  paint.rotate(-Math.PI / 2);
  paint.fillText(label(state.y), 0, 0);
  paint.restore();
}

function ticks(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, k) => (first + k) * step);
}
