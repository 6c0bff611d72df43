// Plots of a live session against time, with limits that can be dragged or typed, and the session's controls.

import uPlot from "./vendor/uPlot.esm.js";
import { call, complain, get, page } from "./api.js";
import { refresh } from "./refresh.js";
import { element } from "./words.js";

const EVERY = 4000; // ms
const BINS = [30, 60, 120, 300, 600, 1800, 3600]; // s over which throughput is counted
const USUAL = new Map([
  ["motion motion.total", "Motion in all, Å"],
  ["ctf-fit fit.resolution", "CTF fits to, Å"],
  ["ctf-fit fit.ctf.defocus_u", "Defocus, larger, Å"],
  ["ctf-fit fit.ice_ring", "Ice rings, over their surroundings"],
]);

const place = document.getElementById("plots");
const more = document.getElementById("plot-more");
const points = [];
const plots = new Map();
let thresholds = JSON.parse(place.dataset.thresholds);
let since = 0;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const keyOf = (step, value) => `${step} ${value}`;
const limitOf = (step, value) => thresholds.find((one) => one.step === step && one.value === value) ?? {};

const SHORT = 600; // s that are told with their seconds
const clock = (time, second) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second, hour12: false });
const clocks = (moments) => moments.map((one) => clock(one, moments.at(-1) - moments[0] < SHORT ? "2-digit" : undefined));
// A single moment stands in the middle.
const around = (first, last) => (first === last && first !== null ? [first - BINS[0], last + BINS[0]] : [first, last]);
const times = { label: "time", value: (_, time) => (time == null ? "" : clock(time, "2-digit")) };

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

function axes() {
  const font = `${0.85 * rem()}px system-ui, sans-serif`;
  const line = { font, size: 2.6 * rem(), stroke: colour("--muted"), grid: { stroke: colour("--border"), width: 1 }, ticks: { stroke: colour("--border") } };
  return [{ ...line, values: (_, splits) => clocks(splits) }, { ...line, size: 4.4 * rem() }];
}

function panel(key, title) {
  const box = element("figure", "", "panel");
  box.dataset.testid = `plot-${key.replace(" ", "-")}`;
  box.append(element("h3", title));
  const body = element("div", "", "plot");
  box.append(body);
  place.append(box);
  return { box, body };
}

function size(body) {
  return { width: Math.max(body.clientWidth, 200), height: 14.5 * rem() };
}

// What all plots have: their size, their axes, and room for the last label of the time axis.
function settings(body) {
  return { ...size(body), axes: axes(), padding: [null, 2 * rem(), null, null] };
}

function throughput() {
  const steps = [...new Set(points.map((point) => point.step))];
  if (!points.length) return;
  const [start, end] = [points[0].time, points[points.length - 1].time];
  const bin = BINS.find((one) => one * 30 > end - start) ?? BINS[BINS.length - 1];
  const first = Math.floor(start / bin) * bin;
  const count = Math.floor((end - first) / bin) + 1;
  const starts = Array.from({ length: count }, (_, k) => first + k * bin);
  const columns = steps.map((step) => {
    const column = new Array(count).fill(0);
    for (const point of points) if (point.step === step) column[Math.floor((point.time - first) / bin)] += 3600 / bin;
    return column;
  });
  const data = [starts, ...columns];
  const known = plots.get("throughput");
  if (known && known.steps === steps.join()) return known.plot.setData(data);
  known?.box.remove();
  const { box, body } = panel("throughput", "Items an hour");
  const hues = ["--accent", "--good", "--warn", "--bad", "--muted", "--fg"];
  const series = steps.map((step, k) => ({ label: step, stroke: colour(hues[k % hues.length]), width: 1.5, points: { show: count < 40 } }));
  const plot = new uPlot({ ...settings(body), scales: { x: { range: (_, first, last) => around(first, last) } }, series: [times, ...series] }, data, body);
  place.prepend(box);
  plots.set("throughput", { plot, box, steps: steps.join() });
}

function dataOf(step, value) {
  const mine = points.filter((point) => point.step === step && point.values[value] !== undefined);
  return [mine.map((point) => point.time), mine.map((point) => (point.rejected ? null : point.values[value])), mine.map((point) => (point.rejected ? point.values[value] : null))];
}

const nameOf = (value) => value.split(".").slice(-2).join(" ").replaceAll("_", " ");

function scatter(step, value) {
  const key = keyOf(step, value);
  const data = dataOf(step, value);
  if (plots.has(key)) return plots.get(key).plot.setData(data);
  const { box, body } = panel(key, USUAL.get(key) ?? `${nameOf(value)} (${step})`);
  const dots = (label, hue) => ({ label, stroke: colour(hue), paths: () => null, points: { show: true, size: 0.36 * rem(), fill: colour(hue) } });
  const options = {
    ...settings(body),
    series: [times, dots("passes", "--accent"), dots("rejected", "--bad")],
    scales: { x: { range: (_, first, last) => around(first, last) }, y: { range: (_, low, high) => withLimits(low, high, limitOf(step, value)) } },
    hooks: { draw: [(plot) => drawLimits(plot, step, value)] },
  };
  const plot = new uPlot(options, data, body);
  plots.set(key, { plot, box });
  if (place.dataset.fixed === undefined) {
    drag(plot, step, value);
    box.append(limits(step, value));
  }
}

function withLimits(low, high, limit) {
  const every = [low, high, limit.min, limit.max].filter((one) => one != null && Number.isFinite(one));
  const [least, most] = every.length ? [Math.min(...every), Math.max(...every)] : [0, 1];
  const pad = (most - least || Math.abs(most) || 1) * 0.06;
  return [least - pad, most + pad];
}

function drawLimits(plot, step, value) {
  const limit = limitOf(step, value);
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour("--bad");
  ctx.setLineDash([6, 4]);
  for (const one of [limit.min, limit.max]) {
    if (one == null) continue;
    const y = plot.valToPos(one, "y", true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

// A limit is dragged by its line; where there is none, it is typed.
function drag(plot, step, value) {
  const near = (event) => {
    const limit = limitOf(step, value);
    const y = event.clientY - plot.over.getBoundingClientRect().top;
    return ["min", "max"].find((end) => limit[end] != null && Math.abs(plot.valToPos(limit[end], "y") - y) < 8);
  };
  plot.over.addEventListener("pointermove", (event) => (plot.over.style.cursor = near(event) ? "ns-resize" : "crosshair"));
  plot.over.addEventListener("pointerdown", (event) => {
    const end = near(event);
    if (!end) return;
    event.stopPropagation();
    const top = plot.over.getBoundingClientRect().top;
    const limit = limitOf(step, value);
    const move = (now) => {
      limit[end] = Number(plot.posToVal(now.clientY - top, "y").toPrecision(3));
      show(step, value);
      plot.redraw();
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", () => {
      removeEventListener("pointermove", move);
      tellThresholds();
    }, { once: true });
  });
}

function limits(step, value) {
  const row = element("div", "", "limits");
  row.dataset.limits = keyOf(step, value);
  for (const [end, text] of [["min", "reject below"], ["max", "reject above"]]) {
    const label = element("label", `${text} `);
    const input = document.createElement("input");
    Object.assign(input, { type: "number", step: "any", value: limitOf(step, value)[end] ?? "" });
    input.dataset.end = end;
    input.dataset.testid = `limit-${step}-${value}-${end}`;
    input.addEventListener("change", () => setLimit(step, value, end, input.value));
    label.append(input);
    row.append(label);
  }
  return row;
}

function show(step, value) {
  const row = place.querySelector(`[data-limits="${CSS.escape(keyOf(step, value))}"]`);
  for (const input of row?.querySelectorAll("input") ?? []) input.value = limitOf(step, value)[input.dataset.end] ?? "";
}

function setLimit(step, value, end, text) {
  const others = thresholds.filter((one) => one.step !== step || one.value !== value);
  const limit = { step, value, min: null, max: null, ...limitOf(step, value), [end]: text === "" ? null : Number(text) };
  thresholds = limit.min === null && limit.max === null ? others : [...others, limit];
  plots.get(keyOf(step, value)).plot.redraw();
  tellThresholds();
}

async function control(changes) {
  try {
    await call("PATCH", `${page.api}/live/control`, changes);
    await refresh();
  } catch (error) {
    complain(error);
  }
}

const tellThresholds = () => control({ thresholds });

function offer() {
  const known = new Map();
  for (const point of points) for (const value of Object.keys(point.values)) known.set(keyOf(point.step, value), [point.step, value]);
  const have = new Set([...more.options].map((option) => option.value));
  for (const [key, [step, value]] of known) {
    if (!have.has(key)) more.append(new Option(`${step}: ${USUAL.get(key) ?? value}`, key));
    if (USUAL.has(key) || limitOf(step, value).step) shown.set(key, [step, value]);
  }
}

const shown = new Map(
  new URLSearchParams(location.search).getAll("plot").map((key) => [key, key.split(" ")]),
);

async function look() {
  const told = await get(`${page.api}/live/series?since=${since}`).catch(() => null);
  const fresh = told?.points ?? [];
  if (fresh.length) {
    points.push(...fresh);
    points.sort((one, other) => one.time - other.time);
    since = points[points.length - 1].time;
    draw();
  }
  setTimeout(look, told?.more ? 0 : document.hidden ? 4 * EVERY : EVERY);
}

function draw() {
  document.getElementById("no-plots")?.remove();
  offer();
  throughput();
  for (const [step, value] of shown.values()) scatter(step, value);
}

more.addEventListener("change", () => {
  const [step, value] = more.value.split(" ");
  more.value = "";
  if (!step) return;
  shown.set(keyOf(step, value), [step, value]);
  const url = new URL(location);
  url.searchParams.append("plot", keyOf(step, value));
  history.replaceState(null, "", url);
  draw();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-control]");
  if (button) control(JSON.parse(button.dataset.control));
});

function anew() {
  for (const { plot, box } of plots.values()) {
    plot.destroy();
    box.remove();
  }
  plots.clear();
  draw();
}

document.addEventListener("theme", anew);
addEventListener("resize", () => plots.forEach(({ plot, box }) => plot.setSize(size(box.querySelector(".plot")))));
look();
