// A map as a surface: contour, colours by another map, and a second map over it or beside it.

import { complain, get } from "../api.js";
import { bar, button, chimera, choice, element, keys, later, number, slider } from "./dom.js";
import { fetchSurface, meshOf, Stage } from "./mesh.js";
import { query, stateOf } from "./state.js";
import { css, turbo } from "./theme.js";

const FIRST = "#8fa9cf";
const SECOND = "#e0a458";

export async function show(target, view, signal) {
  const state = stateOf(view, { source: view.sources[0].source, level: "", dust: 0, colour: Boolean(view.colour), other: "", level2: "", how: "over", from: "", dark: Boolean(view.dark) });
  if (!view.sources.some((one) => one.source === state.source)) state.source = view.sources[0].source;
  const maps = await get(`${document.body.dataset.api}/maps`, signal).catch(() => []);
  const stages = element("div", { class: "viewer-stages" });
  const [first, second] = [element("div", { class: "viewer-stage", tabindex: 0, role: "img", "aria-label": "Surface of the map; drag or arrow keys turn it" }), element("div", { class: "viewer-stage", role: "img", "aria-label": "Surface of the second map" })];
  const controls = bar();
  const compare = bar();
  const told = element("output", { class: "muted small", "aria-live": "polite" });
  const legend = element("div", { class: "viewer-legend" });
  stages.append(first);
  target.append(controls, compare, stages, legend, told);

  const scenes = {};
  const kept = {};
  const info = await get(`${view.url}/volume?${query({ source: state.source })}`, signal);
  const extent = Math.max(...info.shape) * (info.voxel_size ?? 1);
  scenes.first = new Stage(first, extent, signal);
  const remember = later(() => state.set({ from: scenes.first.view }), 300);
  scenes.first.onturn = (stage) => {
    scenes.second?.follow(stage);
    remember();
  };

  const paint = () => {
    const beside = state.other && state.how === "beside";
    if (beside && !scenes.second) {
      stages.append(second);
      scenes.second = new Stage(second, extent, signal);
      scenes.second.follow(scenes.first);
      scenes.second.onturn = (stage) => scenes.first.follow(stage);
    } else if (!beside && scenes.second) {
      scenes.second.close();
      scenes.second = null;
      second.remove();
    }
    const range = kept.first?.values && state.colour ? ends(kept.first.values) : null;
    const mine = kept.first ? [meshOf(kept.first, { colour: FIRST, range, opacity: state.other && !beside ? 0.75 : 1 })] : [];
    const other = kept.second ? [meshOf(kept.second, { colour: SECOND, opacity: beside ? 1 : 0.55 })] : [];
    scenes.first.put(...mine, ...(beside ? [] : other));
    if (mine.length && !scenes.first.closeness) {
      scenes.first.approach(mine[0]);
      if (state.from) scenes.first.view = state.from;
      scenes.first.render();
      scenes.second?.follow(scenes.first);
    }
    scenes.second?.put(...other);
    drawLegend(legend, range, view.colour);
  };
  const fetchFirst = later(() => load("first", view.url, state.source, state.level, view.colour && state.colour ? view.colour.source : null), 60);
  const load = async (which, url, source, level, colour) => {
    told.textContent = "…";
    try {
      kept[which] = await fetchSurface(`${url}/surface?${query({ source, level, colour, dust: state.dust || null, below: which === "first" && state.dark ? true : null })}`, signal);
      told.textContent = `${number(kept[which].triangles)} triangles`;
    } catch (error) {
      if (error.name === "AbortError") return;
      kept[which] = null;
      told.textContent = error.text ?? String(error);
    }
    paint();
  };

  const contour = (name, levels, value, onslide) => {
    const step = (levels.highest - levels.lowest) / 400;
    return slider(name, { min: levels.lowest + step, max: levels.highest - step, step, value, told: (level) => `${number(level, 3)} (${number((level - levels.mean) / levels.sigma, 2)} σ)`, onslide });
  };
  const setUp = async () => {
    const levels = await get(`${view.url}/levels?${query({ source: state.source, below: state.dark || null })}`, signal);
    if (state.level === "" || !(Number(state.level) > levels.lowest && Number(state.level) < levels.highest)) state.level = String(Number(levels.suggested.toPrecision(4)));
    const level = contour("Contour", levels, Number(state.level), (value) => { state.set({ level: String(Number(value.toPrecision(4))) }); fetchFirst(); });
    level.input.dataset.testid = "contour";
    controls.replaceChildren(
      level,
      slider("Hide dust", { min: 0, max: 2000, step: 50, value: state.dust, told: (value) => (value ? `< ${value}` : "no"), onslide: (dust) => { state.set({ dust }); fetchFirst(); } }),
      view.sources.length > 1 ? choice("Map", view.sources.map((one) => [one.source, one.title]), state.source, (source) => { state.set({ source, level: "" }); setUp(); }) : "",
      choice("Matter", [["false", "bright"], ["true", "dark"]], state.dark, (value) => { state.set({ dark: value === "true", level: "" }); setUp(); }),
      view.colour ? choice("Colour", [["true", view.colour.title], ["false", "One colour"]], state.colour, (value) => { state.set({ colour: value === "true" }); fetchFirst(); }) : "",
      button("Reset view", () => { scenes.first.home(); scenes.first.controls.target.set(0, 0, 0); scenes.first.controls.update(); scenes.first.resize(first); scenes.second?.follow(scenes.first); }, { title: "Reset the view (0)" }),
      element("span", { class: "grow" }),
      chimera(info.path),
      element("a", { class: "button", href: `${view.url}/file?${query({ source: state.source })}`, download: "" }, "Download"),
    );
    if (levels.binning > 1) told.textContent = `Shown binned ${levels.binning} times.`;
    fetchFirst();
  };

  const others = [
    ...view.sources.filter((one) => one.source !== view.sources[0].source).map((one) => ({ key: `${view.job}|${view.item}|${one.source}`, title: one.title })),
    ...maps.map((one) => ({ key: `${one.job}|${one.item}|${one.source}`, title: one.title })).filter((one) => one.key !== `${view.job}|${view.item}|${state.source}`),
  ];
  const setUpOther = async () => {
    kept.second = null;
    const parts = [choice("Compare with", [["", "nothing"], ...others.map((one) => [one.key, one.title])], state.other, (other) => { state.set({ other, level2: "" }); setUpOther().catch(complain); }, { "data-testid": "compare" })];
    if (state.other) {
      const [job, item, source] = state.other.split("|");
      const url = `${document.body.dataset.api}/jobs/${encodeURIComponent(job)}/items/${encodeURIComponent(item)}`;
      const levels = await get(`${url}/levels?${query({ source })}`, signal);
      if (state.level2 === "") state.level2 = String(Number(levels.suggested.toPrecision(4)));
      const fetchOther = later(() => load("second", url, source, state.level2, null), 60);
      parts.push(
        contour("Its contour", levels, Number(state.level2), (value) => { state.set({ level2: String(Number(value.toPrecision(4))) }); fetchOther(); }),
        choice("Shown", [["over", "Over each other"], ["beside", "Side by side"]], state.how, (how) => { state.set({ how }); paint(); }),
      );
      fetchOther();
    } else paint();
    compare.replaceChildren(...parts);
  };
  keys(
    target,
    {
      ArrowLeft: () => scenes.first.turn(-0.15, 0),
      ArrowRight: () => scenes.first.turn(0.15, 0),
      ArrowUp: () => scenes.first.turn(0, 0.15),
      ArrowDown: () => scenes.first.turn(0, -0.15),
      0: () => { scenes.first.home(); scenes.first.resize(first); },
    },
    signal,
  );
  await setUp();
  await setUpOther();
}

// The ends of the colours: nearly all values lie between.
function ends(values) {
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.02 * sorted.length)];
  const high = sorted[Math.floor(0.95 * sorted.length)];
  return [low, Math.max(high, low + 0.1)];
}

function drawLegend(legend, range, colour) {
  legend.replaceChildren();
  if (!range) return;
  const canvas = element("canvas", { width: 256, height: 12, "aria-hidden": "true" });
  const paint = canvas.getContext("2d");
  for (let k = 0; k < 256; k++) {
    paint.fillStyle = css(turbo(k / 255));
    paint.fillRect(k, 0, 1, 12);
  }
  legend.append(`${colour.title}: ${number(range[0], 3)} ${colour.unit}`, canvas, `${number(range[1], 3)} ${colour.unit}`);
}
