// From where particles were seen: a heat map over the sphere, flat or as Mollweide's ellipse; cells have equal areas.

import { get } from "../api.js";
import { bar, choice, element, number, whenSized } from "./dom.js";
import { stateOf } from "./state.js";
import { colours, css, font, onTheme, rem, viridis } from "./theme.js";

export async function show(target, view, signal) {
  const found = await get(`${view.url}/directions`, signal);
  const state = stateOf(view, { map: "flat" });
  const most = Math.max(...found.cells.flat());
  const canvas = element("canvas", { role: "img", "aria-label": `Viewing directions of ${found.particles} particles` });
  const told = element("output", { class: "muted" });
  const draw = () => drawCells(canvas, found, most, state.map);
  target.append(
    bar(choice("Map", [["flat", "Azimuth and elevation"], ["mollweide", "Mollweide"]], state.map, (map) => { state.set({ map }); draw(); }), told),
    element("div", { class: "viewer-field" }, canvas),
    element("p", { class: "muted small" }, `${number(found.particles)} views${found.symmetry === "C1" ? "" : `, without their copies by ${found.symmetry}`}; the brightest cell has ${number(most, 3)} times as many as even views would give.`),
  );
  canvas.addEventListener("pointermove", (event) => {
    const at = cellAt(canvas, found, state.map, event);
    told.textContent = at ? `azimuth ${Math.round(at.azimuth)}°, elevation ${Math.round(at.elevation)}°: ${number(found.cells[at.row][at.column], 3)} × even` : "";
  });
  whenSized(canvas.parentElement, draw, signal);
  onTheme(draw, signal);
}

// Corners of a cell; on the ellipse its sides are bent, and so have points between.
const SIDE = [0, 0.2, 0.4, 0.6, 0.8, 1];
const outline = (map) => (map === "flat" ? [[0, 0], [1, 0], [1, 1], [0, 1]] : [...SIDE.map((y) => [1, y]), ...SIDE.map((y) => [0, 1 - y])]);

const FLAT = { left: 46, bottom: 36, top: 8, right: 12 };

// Corners of the sphere's cell on the map; u and v run from 0 to 1 over azimuth and sine of elevation.
function placed(map, u, v, box) {
  if (map === "flat") return [box.left + u * box.width, box.top + (1 - v) * box.height];
  const sine = 2 * v - 1;
  const elevation = Math.asin(sine);
  let angle = elevation;
  for (let k = 0; k < 12; k++) {
    const slope = 2 + 2 * Math.cos(2 * angle);
    if (slope > 1e-6) angle -= (2 * angle + Math.sin(2 * angle) - Math.PI * sine) / slope;
  }
  return [box.left + (0.5 + (u - 0.5) * Math.cos(angle)) * box.width, box.top + (0.5 - Math.sin(angle) / 2) * box.height];
}

function boxOf(canvas, map) {
  const ratio = devicePixelRatio * rem();
  const edge = map === "flat" ? FLAT : { left: 8, right: 8, top: 8, bottom: 8 };
  return { left: edge.left * ratio, top: edge.top * ratio, width: canvas.width - (edge.left + edge.right) * ratio, height: canvas.height - (edge.top + edge.bottom) * ratio };
}

function drawCells(canvas, found, most, map) {
  const ratio = devicePixelRatio * rem();
  canvas.width = canvas.parentElement.clientWidth * devicePixelRatio;
  canvas.height = canvas.width * 0.46;
  const box = boxOf(canvas, map);
  const paint = canvas.getContext("2d");
  const [rows, columns] = [found.cells.length, found.cells[0].length];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const corners = outline(map).map(([x, y]) => placed(map, (column + x) / columns, (row + y) / rows, box));
      paint.fillStyle = paint.strokeStyle = css(viridis(found.cells[row][column] / most));
      paint.beginPath();
      corners.forEach(([x, y], k) => (k ? paint.lineTo(x, y) : paint.moveTo(x, y)));
      paint.closePath();
      paint.fill();
      paint.lineWidth = 0.6;
      paint.stroke();
    }
  }
  if (map === "flat") drawAxes(paint, box, ratio);
}

function drawAxes(paint, box, ratio) {
  paint.fillStyle = colours().muted;
  paint.font = font(devicePixelRatio);
  paint.textAlign = "center";
  for (let azimuth = -180; azimuth <= 180; azimuth += 60) paint.fillText(`${azimuth}°`.replace("-", "−"), box.left + ((azimuth + 180) / 360) * box.width * 0.985 + 4 * ratio, box.top + box.height + 15 * ratio);
  paint.fillText("azimuth from x", box.left + box.width / 2, box.top + box.height + 30 * ratio);
  paint.textAlign = "right";
  for (const elevation of [-60, -30, 0, 30, 60, 90]) paint.fillText(`${elevation}°`.replace("-", "−"), box.left - 5 * ratio, box.top + ((1 - Math.sin((elevation * Math.PI) / 180)) / 2) * box.height + (elevation === 90 ? 9 : 4) * ratio);
}

function cellAt(canvas, found, map, event) {
  const bounds = canvas.getBoundingClientRect();
  const box = boxOf(canvas, map);
  const x = ((event.clientX - bounds.left) * canvas.width) / bounds.width;
  const y = ((event.clientY - bounds.top) * canvas.height) / bounds.height;
  let [u, v] = [(x - box.left) / box.width, 1 - (y - box.top) / box.height];
  if (map !== "flat") {
    const angle = Math.asin(Math.min(1, Math.max(-1, 2 * v - 1)));
    u = 0.5 + (u - 0.5) / Math.max(Math.cos(angle), 1e-6);
    v = ((2 * angle + Math.sin(2 * angle)) / Math.PI + 1) / 2;
  }
  if (!(u >= 0 && u < 1 && v >= 0 && v < 1)) return null;
  const [row, column] = [Math.floor(v * found.cells.length), Math.floor(u * found.cells[0].length)];
  return { row, column, azimuth: u * 360 - 180, elevation: (Math.asin(2 * v - 1) * 180) / Math.PI };
}
