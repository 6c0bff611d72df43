// A tilt series as a film, aligned or as it was taken.

import { get } from "../api.js";
import { bar, button, element, keys, later, measured, number, slider, toggle } from "./dom.js";
import { query, stateOf } from "./state.js";

export async function show(target, view, signal) {
  const found = await get(`${view.url}/tilts?${query({ source: view.source })}`, signal);
  const tilts = found.columns.tilt;
  const state = stateOf(view, { tilt: Math.floor(tilts.length / 2), aligned: found.aligned, contrast: 3, size: 512, speed: 8 });
  state.tilt = Math.min(Math.max(Math.round(state.tilt), 0), tilts.length - 1);
  const image = element("img", { alt: "", class: "viewer-tilt" });
  const caption = element("figcaption", {});
  const url = (k) => `${view.url}/tilts/${k}.jpg?${query({ source: view.source, aligned: state.aligned, contrast: state.contrast, size: state.size })}`;
  const ready = new Map();
  const ask = (k) => {
    const address = url(k);
    if (!ready.has(address)) {
      const picture = new Image();
      picture.src = address;
      ready.set(address, picture);
    }
    return ready.get(address);
  };
  const draw = () => {
    const k = state.tilt;
    image.src = ask(k).src;
    const excluded = found.excluded[k];
    image.alt = `Image ${k + 1} at ${number(tilts[k], 3)}°`;
    caption.replaceChildren(`Image ${k + 1} of ${tilts.length}: ${number(tilts[k], 3)}°`, excluded ? element("span", { class: "warn" }, ` excluded: ${excluded}`) : "");
    image.classList.toggle("excluded", Boolean(excluded));
    at.set(k + 1);
    ask((k + 1) % tilts.length);
    ask((k + tilts.length - 1) % tilts.length);
  };
  const keep = later(() => state.set({ tilt: state.tilt }), 300);
  const go = (k) => {
    state.tilt = (k + tilts.length) % tilts.length;
    draw();
    keep();
  };
  let timer = null;
  let step = 1;
  const play = toggle("Play", false, (playing) => {
    clearTimeout(timer);
    if (playing) advance();
  }, { title: "Play or stop (space)", "data-testid": "tilts-play" });
  // To and fro, each picture once it is there.
  const advance = () => {
    if (state.tilt + step < 0 || state.tilt + step >= tilts.length) step = -step;
    const next = state.tilt + step;
    const move = () => {
      if (play.getAttribute("aria-pressed") !== "true" || signal.aborted) return;
      state.tilt = next;
      draw();
      timer = setTimeout(advance, 1000 / state.speed);
    };
    const picture = ask(next);
    if (picture.complete) move();
    else picture.addEventListener("load", move, { once: true });
  };
  const at = slider("Image", { min: 1, max: tilts.length, step: 1, value: state.tilt + 1, onslide: (value) => go(value - 1) });
  const redo = later(() => { ready.clear(); draw(); });
  target.append(
    bar(
      play,
      at,
      slider("Speed", { min: 1, max: 25, step: 1, value: state.speed, told: (value) => `${value}/s`, onslide: (speed) => state.set({ speed }) }),
      found.aligned && toggle("Aligned", state.aligned, (aligned) => { state.set({ aligned }); redo(); }, { title: "Tilt axis upright, shifts undone" }),
      slider("Contrast", { min: 0.5, max: 8, step: 0.1, value: state.contrast, told: (value) => `${value} σ`, onslide: (contrast) => { state.set({ contrast }); redo(); } }),
    ),
    element("div", { class: "viewer-two viewer-film" }, element("figure", {}, image, caption), element("div", {}, measured(found.facts), ...found.warnings.map((text) => element("p", { class: "warn small" }, text)), excludedList(found, tilts))),
  );
  keys(target, { " ": () => play.set(play.getAttribute("aria-pressed") !== "true", true), ",": () => go(state.tilt - 1), ".": () => go(state.tilt + 1), ArrowLeft: () => go(state.tilt - 1), ArrowRight: () => go(state.tilt + 1) }, signal);
  signal.addEventListener("abort", () => clearTimeout(timer));
  draw();
}

function excludedList(found, tilts) {
  const entries = Object.entries(found.excluded);
  if (!entries.length) return null;
  return element("details", { open: entries.length < 8 }, element("summary", {}, `${entries.length} excluded`), element("ul", {}, ...entries.map(([k, why]) => element("li", {}, `${number(tilts[k], 3)}°: ${why}`))));
}
