// Line and scatter plots by uPlot, with the page's colours, axes with names, and values under the pointer.

import uPlot from "../vendor/uPlot.esm.js";
import { element, later, number, whenSized } from "./dom.js";
import { colours, onTheme, rem } from "./theme.js";

const styles = element("link", { rel: "stylesheet", href: new URL("../vendor/uPlot.min.css", import.meta.url).href });

// series: [{ name, values, colour (0–4), dash, points, line, width }]; marks: [{ x | y, text, colour }].
export function plot(target, options, signal) {
  if (!styles.isConnected) document.head.append(styles);
  const box = element("div", { class: "viewer-plot", role: "img", "aria-label": options.title });
  target.append(element("figure", {}, element("figcaption", {}, options.title), box));
  let drawn;
  const draw = () => {
    drawn?.destroy();
    if (box.clientWidth) drawn = new uPlot(settings(options, box), [options.x, ...options.series.map((one) => one.values)], box);
  };
  whenSized(box, later(draw, drawn ? 120 : 0), signal);
  onTheme(draw, signal);
  signal.addEventListener("abort", () => drawn?.destroy());
  return { redraw: draw, box };
}

function settings(options, box) {
  const theme = colours();
  const font = `${Math.round(parseFloat(getComputedStyle(box).fontSize) * 0.86)}px system-ui, sans-serif`;
  const axis = (name, more = {}) => ({
    label: name,
    labelFont: font,
    font,
    stroke: theme.muted,
    labelSize: 24 * rem(),
    size: 54 * rem(),
    grid: { stroke: theme.border, width: 1 },
    ticks: { stroke: theme.border, width: 1, size: 4 },
    ...more,
  });
  return {
    width: box.clientWidth,
    height: (options.height ?? Math.max(270, Math.min(box.clientWidth * 0.42, 420))) * rem(),
    cursor: { drag: { x: true, y: Boolean(options.scatter) }, points: { size: 7 } },
    legend: { live: true },
    scales: {
      x: { time: false, range: options.rangeX },
      y: { range: options.rangeY, distr: options.logY ? 3 : 1 },
    },
    axes: [
      axis(options.xName, { values: (_, ticks) => ticks.map(options.tellX ?? ((tick) => number(tick))), size: 34 * rem(), space: 60 * rem() }),
      axis(options.yName, { values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))) }),
    ],
    series: [
      { label: options.xName, value: (_, value) => (value === null ? "–" : (options.tellX ?? number)(value)) },
      ...options.series.map((one, k) => {
        const colour = theme.series[one.colour ?? k % 5];
        return {
          label: one.name,
          stroke: colour,
          width: one.line === false ? 0 : (one.width ?? 1.6),
          paths: one.line === false ? () => null : undefined,
          dash: one.dash,
          points: { show: Boolean(one.points), size: one.points ?? 5, fill: colour, stroke: colour, width: 0 },
          spanGaps: false,
          value: (_, value) => number(value),
        };
      }),
    ],
    hooks: { draw: [(chart) => drawMarks(chart, options.marks ?? [], theme, font)], setSelect: options.onselect && [options.onselect] },
  };
}

function drawMarks(chart, marks, theme, font) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.lineWidth = devicePixelRatio;
  ctx.font = font.replace(/^\d+/, (size) => Math.round(size * devicePixelRatio));
  for (const mark of marks) {
    ctx.strokeStyle = ctx.fillStyle = mark.colour === undefined ? theme.muted : theme.series[mark.colour];
    const upright = mark.x !== undefined;
    const at = chart.valToPos(upright ? mark.x : mark.y, upright ? "x" : "y", true);
    if (!(at >= (upright ? bbox.left : bbox.top) - 1 && at <= (upright ? bbox.left + bbox.width : bbox.top + bbox.height) + 1)) continue;
    ctx.beginPath();
    ctx.moveTo(upright ? at : bbox.left, upright ? bbox.top : at);
    ctx.lineTo(upright ? at : bbox.left + bbox.width, upright ? bbox.top + bbox.height : at);
    ctx.stroke();
    if (!mark.text) continue;
    // Beside an upright line where there is room, at the right end of a level one.
    const right = upright && at < bbox.left + 0.8 * bbox.width;
    ctx.textAlign = right ? "left" : "right";
    const x = upright ? at + (right ? 5 : -5) * devicePixelRatio : bbox.left + bbox.width - 4 * devicePixelRatio;
    ctx.fillText(mark.text, x, upright ? bbox.top + 14 * devicePixelRatio : at - 4 * devicePixelRatio);
  }
  ctx.restore();
}

// A spatial frequency, 1/Å, as the spacing that people think in.
export const spacing = (frequency) => (frequency > 0 ? `${number(1 / frequency, 3)} Å` : "∞");
