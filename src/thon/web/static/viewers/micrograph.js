// A micrograph, or any image in a file: tiles with contrast and low-pass, a scale bar, and picks drawn over it.

import { get } from "../api.js";
import { bar, button, choice, element, keys, later, slider } from "./dom.js";
import { startPicks } from "./picks.js";
import { goToItem, query, stateOf } from "./state.js";
import { overlay, scaleBar, tileSource, tileViewer } from "./tiles.js";

const LOWPASS = [[0, "none"], [5, "5 Å"], [10, "10 Å"], [20, "20 Å"], [40, "40 Å"]];

export async function show(target, view, signal) {
  const state = stateOf(view, { source: view.images[0].source, contrast: 3, brightness: 0, lowpass: 0, section: 0, x: 0.5, y: 0.5, zoom: 0 });
  if (!view.images.some((one) => one.source === state.source)) state.source = view.images[0].source;
  const holder = element("div", { class: "viewer-image", tabindex: 0, role: "application", "aria-label": `${view.title}: ${view.item}. Drag to move, wheel to zoom.` });
  const place = element("output", { class: "muted viewer-place" });
  const controls = bar();
  const second = bar();
  target.append(controls, second, holder);
  const { viewer, OpenSeadragon } = await tileViewer(holder, signal);
  const shown = { info: null };

  const asked = () => ({ source: state.source, section: state.section || null, lowpass: state.lowpass || null, contrast: state.contrast, brightness: state.brightness || null });
  const load = async () => {
    shown.info = await get(`${view.url}/image?${query({ source: state.source, section: state.section || null, lowpass: state.lowpass || null })}`, signal);
    const bounds = viewer.world.getItemCount() ? viewer.viewport.getBounds() : null;
    viewer.open(tileSource(shown.info, view.url, asked()));
    viewer.addOnceHandler("open", () => restore(viewer, OpenSeadragon, bounds, state));
    return shown.info;
  };
  // New grey values come over the old ones, so that the picture does not flicker.
  const recolour = later(() => {
    const old = viewer.world.getItemAt(0);
    viewer.addTiledImage({ tileSource: tileSource(shown.info, view.url, asked()), success: ({ item }) => item.addOnceHandler("fully-loaded-change", () => old && viewer.world.removeItem(old)) });
  });

  const info = await load();
  const contrast = slider("Contrast", { min: 0.5, max: 8, step: 0.1, value: state.contrast, told: (value) => `${value} σ`, onslide: (value) => { state.set({ contrast: value }); recolour(); } });
  const brightness = slider("Brightness", { min: -4, max: 4, step: 0.1, value: state.brightness, told: (value) => `${value} σ`, onslide: (value) => { state.set({ brightness: value }); recolour(); } });
  const smooth = choice("Low-pass", LOWPASS, state.lowpass, (value) => { state.set({ lowpass: Number(value) }); load(); });
  controls.append(contrast, brightness, smooth);
  if (view.images.length > 1) controls.append(choice("Image", view.images.map((one) => [one.source, one.title]), state.source, (source) => { state.set({ source }); load(); }));
  if (info.sections > 1) controls.append(slider("Image", { min: 1, max: info.sections, step: 1, value: state.section + 1, onchange: (value) => { state.set({ section: value - 1 }); load(); } }));
  controls.append(
    element("span", { class: "grow" }),
    place,
    button("‹", () => info.previous && goToItem(info.previous), { class: "square", disabled: !info.previous, "aria-label": "Previous item", title: "Previous ([)" }),
    button("›", () => info.next && goToItem(info.next), { class: "square", disabled: !info.next, "aria-label": "Next item", title: "Next (])" }),
    element("a", { class: "button", href: `${view.url}/file?${query({ source: state.source })}`, download: "" }, "Download"),
  );

  // Pixels of the file, whose rows count from the bottom, to the screen and back.
  const frame = {
    scale: () => viewer.viewport.viewportToViewerElementCoordinates(new OpenSeadragon.Point(1, 0)).minus(viewer.viewport.viewportToViewerElementCoordinates(new OpenSeadragon.Point(0, 0))).x / (shown.info.width * shown.info.factor),
    toScreen: (y, x) => {
      const { width, height, factor } = shown.info;
      return viewer.viewport.viewportToViewerElementCoordinates(new OpenSeadragon.Point((x + 0.5) / (width * factor), (height * factor - y - 0.5) / (width * factor)));
    },
    toFile: (point) => {
      const { width, height, factor } = shown.info;
      const at = viewer.viewport.viewerElementToViewportCoordinates(point);
      return { y: height * factor - at.y * width * factor - 0.5, x: at.x * width * factor - 0.5 };
    },
    inside: ({ y, x }) => y >= 0 && x >= 0 && y < shown.info.height * shown.info.factor && x < shown.info.width * shown.info.factor,
  };
  const picks = view.picks ? await startPicks({ target, second, view, viewer, frame, info, signal, redraw: () => update() }) : null;
  if (!picks) second.remove();
  const update = overlay(
    viewer,
    (paint, width, height) => {
      picks?.draw(paint);
      scaleBar(paint, width, height, shown.info.pixel_size / frame.scale());
    },
    signal,
  );
  picks?.begin();
  new OpenSeadragon.MouseTracker({
    element: viewer.container,
    moveHandler: (event) => {
      const at = frame.toFile(event.position);
      place.textContent = frame.inside(at) ? `x ${Math.round(at.x)}, y ${Math.round(at.y)}` : "";
    },
  });
  viewer.addHandler("animation-finish", () => remember(viewer, state));
  keys(
    target,
    {
      "[": () => info.previous && goToItem(info.previous),
      "]": () => info.next && goToItem(info.next),
      "+": () => viewer.viewport.zoomBy(1.5),
      "-": () => viewer.viewport.zoomBy(1 / 1.5),
      0: () => viewer.viewport.goHome(),
      ArrowLeft: () => viewer.viewport.panBy(new OpenSeadragon.Point(-0.1 / viewer.viewport.getZoom(), 0)),
      ArrowRight: () => viewer.viewport.panBy(new OpenSeadragon.Point(0.1 / viewer.viewport.getZoom(), 0)),
      ArrowUp: () => viewer.viewport.panBy(new OpenSeadragon.Point(0, -0.1 / viewer.viewport.getZoom())),
      ArrowDown: () => viewer.viewport.panBy(new OpenSeadragon.Point(0, 0.1 / viewer.viewport.getZoom())),
      ...picks?.keys,
    },
    signal,
  );
}

function restore(viewer, OpenSeadragon, bounds, state) {
  if (bounds) return viewer.viewport.fitBounds(bounds, true);
  if (!state.zoom) return;
  viewer.viewport.zoomTo(state.zoom, null, true);
  viewer.viewport.panTo(new OpenSeadragon.Point(state.x, state.y), true);
}

function remember(viewer, state) {
  const centre = viewer.viewport.getCenter();
  const zoom = viewer.viewport.getZoom();
  const home = Math.abs(zoom / viewer.viewport.getHomeZoom() - 1) < 0.01;
  state.set(home ? { zoom: 0, x: 0.5, y: 0.5 } : { zoom: Number(zoom.toFixed(3)), x: Number(centre.x.toFixed(4)), y: Number(centre.y.toFixed(4)) });
}

