// Amplitudes of a map before and after sharpening.

import { get } from "../api.js";
import { number } from "./dom.js";
import { plot } from "./plot.js";

export async function show(target, view, signal) {
  const found = await get(`${view.url}/guinier`, signal);
  const line = found.slope === null ? null : found.frequency2.map((x) => found.intercept + found.slope * x);
  const lines = [
    { name: "Original", values: found.original, colour: 4 },
    { name: "Weighted by FSC", values: found.weighted, colour: 0 },
    { name: "Sharpened", values: found.sharpened, colour: 2 },
    ...(line ? [{ name: "Fitted line", values: line, colour: 1, dash: [6, 4] }] : []),
  ];
  const finite = [found.original, found.sharpened].flat().filter((value) => value !== null);
  plot(
    target,
    {
      title: `Guinier plot: ${found.b_factor ? `B-factor ${number(found.b_factor)} Å²` : "not sharpened"}`,
      x: found.frequency2,
      xName: "squared frequency, 1/Å²",
      yName: "ln amplitude",
      rangeY: () => [Math.min(...finite) - 0.5, Math.max(...finite) + 0.5],
      series: lines,
    },
    signal,
  );
}
