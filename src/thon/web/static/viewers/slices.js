// A volume in three orthogonal slices, linked by a cross-hair.

import { get } from "../api.js";
import { bar, chimera, choice, element, facts, keys, later, number, slider, whenSized } from "./dom.js";
import { query, stateOf } from "./state.js";
import { scaleBar } from "./tiles.js";

export async function show(target, view, signal) {
  const state = stateOf(view, { source: view.sources[0].source, z: -1, y: -1, x: -1, slab: 0, contrast: 3, brightness: 0 });
  if (!view.sources.some((one) => one.source === state.source)) state.source = view.sources[0].source;
  const panels = {
    z: panel("Across z", "x", "y"),
    y: panel("Across y", "x", "z"),
    x: panel("Across x", "z", "y"),
  };
  const layout = element("div", { class: "viewer-planes" }, panels.z.holder, panels.x.holder, panels.y.holder, element("div", { class: "viewer-planes-about" }));
  const about = layout.lastChild;
  const controls = bar();
  target.append(controls, layout);
  let info;
  let size;

  const at = (axis) => state[axis];
  const fit = (width) => {
    const [z, y, x] = info.shape;
    const scale = Math.min((width - 12) / (x + z), (innerHeight * 0.74) / (y + z));
    size = { z: z * scale, y: y * scale, x: x * scale, scale };
    layout.style.gridTemplateColumns = `${size.x}px ${size.z}px`;
    for (const axis of ["z", "y", "x"]) {
      const one = panels[axis];
      one.canvas.style.width = `${size[one.across]}px`;
      one.canvas.style.height = `${size[one.up]}px`;
      one.canvas.width = size[one.across] * devicePixelRatio;
      one.canvas.height = size[one.up] * devicePixelRatio;
      fetchSlice(axis);
    }
  };
  const url = (axis) => {
    const factor = Math.max(1, Math.min(16, Math.floor(1 / (size.scale * devicePixelRatio) + 0.01)));
    return `${view.url}/slices/${axis}/${at(axis)}.jpg?${query({ source: state.source, slab: state.slab || null, contrast: state.contrast, brightness: state.brightness || null, factor: factor > 1 ? factor : null })}`;
  };
  // One request for each panel at a time; what was asked for meanwhile is fetched after it, so that a slider never lags.
  const fetchSlice = (axis) => {
    const one = panels[axis];
    const wanted = url(axis);
    if (one.wanted === wanted) return draw(axis);
    one.wanted = wanted;
    if (one.busy) return;
    one.busy = true;
    const image = new Image();
    image.onload = image.onerror = () => {
      one.busy = false;
      if (image.naturalWidth) one.image = image;
      draw(axis);
      if (one.wanted !== wanted && !signal.aborted) {
        one.wanted = null;
        fetchSlice(axis);
      }
    };
    image.src = wanted;
  };
  const draw = (axis) => {
    const { canvas, image, across, up } = panels[axis];
    const paint = canvas.getContext("2d");
    const ratio = devicePixelRatio;
    paint.setTransform(1, 0, 0, 1, 0, 0);
    paint.imageSmoothingEnabled = size.scale * ratio < 3;
    if (image) paint.drawImage(image, 0, 0, canvas.width, canvas.height);
    const length = { z: info.shape[0], y: info.shape[1], x: info.shape[2] };
    const x = ((at(across) + 0.5) / length[across]) * canvas.width;
    const y = (1 - (at(up) + 0.5) / length[up]) * canvas.height;
    paint.strokeStyle = "rgb(86 180 233 / 70%)";
    paint.lineWidth = ratio;
    paint.beginPath();
    paint.moveTo(x, 0);
    paint.lineTo(x, canvas.height);
    paint.moveTo(0, y);
    paint.lineTo(canvas.width, y);
    paint.stroke();
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (axis === "z") scaleBar(paint, size.x, size.y, info.voxel_size / size.scale);
  };
  const go = (changes) => {
    const [z, y, x] = info.shape;
    const limit = { z, y, x };
    for (const [axis, value] of Object.entries(changes)) state[axis] = Math.min(Math.max(Math.round(value), 0), limit[axis] - 1);
    for (const axis of ["z", "y", "x"]) {
      sliders[axis].set(state[axis] + 1);
      fetchSlice(axis);
    }
    keep();
  };
  const keep = later(() => state.set({ z: state.z, y: state.y, x: state.x }), 250);
  const redo = later(() => ["z", "y", "x"].forEach(fetchSlice), 30);
  const sliders = {};

  const load = async () => {
    info = await get(`${view.url}/volume?${query({ source: state.source })}`, signal);
    info.shape.forEach((length, k) => {
      const axis = "zyx"[k];
      if (!(state[axis] >= 0 && state[axis] < length)) state[axis] = Math.floor(length / 2);
    });
    controls.replaceChildren(
      ...["z", "y", "x"].map((axis, k) => (sliders[axis] = slider(axis, { min: 1, max: info.shape[k], step: 1, value: state[axis] + 1, told: (value) => `${value} of ${info.shape[k]}`, onslide: (value) => go({ [axis]: value - 1 }) }))),
      slider("Slab", { min: 0, max: 20, step: 1, value: state.slab, told: (value) => `${2 * value + 1}`, onslide: (slab) => { state.set({ slab }); redo(); } }),
      slider("Contrast", { min: 0.5, max: 10, step: 0.1, value: state.contrast, told: (value) => `${value} σ`, onslide: (contrast) => { state.set({ contrast }); redo(); } }),
      slider("Brightness", { min: -4, max: 4, step: 0.1, value: state.brightness, told: (value) => `${value} σ`, onslide: (brightness) => { state.set({ brightness }); redo(); } }),
      view.sources.length > 1 ? choice("Map", view.sources.map((one) => [one.source, one.title]), state.source, (source) => { state.set({ source }); load(); }) : "",
    );
    about.replaceChildren(
      facts([
        ["Voxels", [...info.shape].reverse().map((n) => number(n)).join(" × ")],
        ["Voxel size", `${number(info.voxel_size, 5)} Å`],
        ["Values", `${number(info.lowest, 3)} to ${number(info.highest, 3)}`],
      ]),
      element("p", { class: "muted small" }, "Click or drag to move the cross-hair; wheel, or , and . to go through a panel."),
      element("div", { class: "viewer-bar" }, element("a", { class: "button", href: `${view.url}/file?${query({ source: state.source })}`, download: "" }, "Download"), chimera(info.path)),
    );
    fit(layout.parentElement.clientWidth);
  };

  let over = "z";
  for (const axis of ["z", "y", "x"]) {
    const { canvas, across, up } = panels[axis];
    const move = (event) => {
      const bounds = canvas.getBoundingClientRect();
      const length = { z: info.shape[0], y: info.shape[1], x: info.shape[2] };
      go({ [across]: ((event.clientX - bounds.left) / bounds.width) * length[across] - 0.5, [up]: (1 - (event.clientY - bounds.top) / bounds.height) * length[up] - 0.5 });
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); move(event); });
    canvas.addEventListener("pointermove", (event) => { over = axis; if (event.buttons) move(event); });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); go({ [axis]: at(axis) - Math.sign(event.deltaY) }); }, { passive: false });
    canvas.addEventListener("focus", () => (over = axis));
  }
  keys(
    target,
    {
      ",": () => go({ [over]: at(over) - 1 }),
      ".": () => go({ [over]: at(over) + 1 }),
      "<": () => go({ [over]: at(over) - 10 }),
      ">": () => go({ [over]: at(over) + 10 }),
      ArrowLeft: () => go({ [panels[over].across]: at(panels[over].across) - 1 }),
      ArrowRight: () => go({ [panels[over].across]: at(panels[over].across) + 1 }),
      ArrowUp: () => go({ [panels[over].up]: at(panels[over].up) + 1 }),
      ArrowDown: () => go({ [panels[over].up]: at(panels[over].up) - 1 }),
    },
    signal,
  );
  await load();
  whenSized(target, later((width) => info && fit(width), 60), signal);
}

function panel(name, across, up) {
  const canvas = element("canvas", { tabindex: 0, role: "img", "aria-label": `${name}: ${across} to the right, ${up} up` });
  return { canvas, across, up, holder: element("figure", {}, canvas), image: null, wanted: null, busy: false };
}
