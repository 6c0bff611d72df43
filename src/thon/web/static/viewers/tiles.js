// A large image in tiles that the server makes: zoom and pan by OpenSeadragon, scale bar, and a canvas to draw over it.

import { element } from "./dom.js";
import { query } from "./state.js";
import { font, rem } from "./theme.js";

let loading;

// OpenSeadragon is a classic script, which puts itself into the window.
function library() {
  loading ??= new Promise((resolve, reject) => {
    // It puts a style for touch screens into the page, which the page's policy refuses, unless it finds one: this stands for it.
    const marker = document.createElementNS("urn:none", "style");
    marker.setAttribute("data-openseadragon-mobile-css", "");
    document.head.append(marker);
    const script = element("script", { src: new URL("../vendor/openseadragon.min.js", import.meta.url).href });
    script.onload = () => resolve(window.OpenSeadragon);
    script.onerror = () => reject(new Error("the image viewer did not load"));
    document.head.append(script);
  });
  return loading;
}

export async function tileViewer(holder, signal) {
  const OpenSeadragon = await library();
  const viewer = OpenSeadragon({
    element: holder,
    showNavigationControl: false,
    drawer: "canvas",
    maxZoomPixelRatio: 8,
    minZoomImageRatio: 0.8,
    visibilityRatio: 0.4,
    animationTime: 0.25,
    springStiffness: 12,
    immediateRender: true,
    imageSmoothingEnabled: true,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
    keyboardNavEnabled: false,
  });
  signal.addEventListener("abort", () => viewer.destroy());
  return { viewer, OpenSeadragon };
}

// The source of an image's tiles; `asked` is what goes into the query: source, contrast, brightness, lowpass, section.
export function tileSource(info, url, asked) {
  return {
    width: info.width,
    height: info.height,
    tileSize: info.tile,
    minLevel: 0,
    maxLevel: info.levels - 1,
    getTileUrl: (level, x, y) => `${url}/tiles/${info.levels - 1 - level}/${y}/${x}.jpg?${query(asked)}`,
  };
}

// A canvas over the image; `draw(paint, place, scale)` gets a function from pixels of the whole file to the screen.
export function overlay(viewer, draw, signal) {
  const canvas = element("canvas", { class: "viewer-overlay", "aria-hidden": "true" });
  viewer.canvas.append(canvas);
  const update = () => {
    const [width, height] = [viewer.container.clientWidth, viewer.container.clientHeight];
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    }
    const paint = canvas.getContext("2d");
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    if (viewer.world.getItemCount()) draw(paint, width, height);
  };
  for (const name of ["update-viewport", "open", "resize", "animation"]) viewer.addHandler(name, update);
  signal.addEventListener("abort", () => canvas.remove());
  return update;
}

// A round length for a bar of about a fifth of the width, in Å per pixel of the screen.
export function scaleBar(paint, width, height, angstrom) {
  if (!angstrom) return;
  const wanted = 0.2 * width * angstrom;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const length = Math.max(...[1, 2, 5].filter((one) => one * power <= wanted).map((one) => one * power));
  const text = length >= 1e4 ? `${length / 1e4} µm` : length >= 10 ? `${length / 10} nm` : `${length} Å`;
  const [span, unit] = [length / angstrom, rem()];
  paint.fillStyle = "rgb(0 0 0 / 55%)";
  paint.fillRect(10, height - 10 - 30 * unit, span + 16 * unit, 30 * unit);
  paint.fillStyle = "#ffffff";
  paint.fillRect(10 + 8 * unit, height - 10 - 10 * unit, span, 4 * unit);
  paint.font = font(1, "600");
  paint.textAlign = "center";
  paint.fillText(text, 10 + 8 * unit + span / 2, height - 10 - 15 * unit);
  paint.textAlign = "left";
}
