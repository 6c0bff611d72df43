// Fourier shell correlations of the two halves of a map.

import { get } from "../api.js";
import { element, facts, number } from "./dom.js";
import { plot, spacing } from "./plot.js";

const NAMES = { unmasked: "No mask", masked: "Masked", randomised: "Phases randomised", corrected: "Corrected" };
const COLOURS = { unmasked: 4, masked: 0, randomised: 1, corrected: 2 };

export async function show(target, view, signal) {
  const found = await get(`${view.url}/fsc`, signal);
  const best = found.crossings.corrected ?? found.crossings.unmasked;
  plot(
    target,
    {
      title: `Fourier shell correlation: ${found.resolution ? `${number(found.resolution)} Å` : "no resolution"} at 0.143`,
      x: found.frequency,
      xName: "spacing",
      yName: "correlation",
      tellX: spacing,
      rangeY: (_, low) => [Math.min(-0.05, Math.max(low, -0.4)), 1.03],
      series: Object.entries(found.curves).map(([name, values]) => ({
        name: NAMES[name], values, colour: COLOURS[name], dash: name === "randomised" ? [6, 4] : undefined, width: name === "corrected" ? 2.4 : 1.5,
      })),
      marks: [
        { y: 0.143, text: "0.143" },
        { y: 0.5, text: "0.5" },
        ...(best?.["0.143"] ? [{ x: 1 / best["0.143"], text: `${number(best["0.143"])} Å`, colour: 3 }] : []),
      ],
    },
    signal,
  );
  const told = (value) => (value ? `${number(value)} Å` : "not reached");
  target.append(
    facts(Object.entries(found.crossings).map(([name, at]) => [NAMES[name], `${told(at["0.5"])} at 0.5, ${told(at["0.143"])} at 0.143`])),
    element("p", { class: "muted small" }, "What the mask itself correlates shows in the curve with randomised phases, and is taken off the corrected one."),
  );
}
