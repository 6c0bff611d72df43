// Colours of what is drawn on canvases: those of the page, and data colours that colour-blind people can tell apart.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#a8467f", "#56616e"];
const DARK = ["#56b4e9", "#f0a030", "#2fc79b", "#e08fbf", "#a3acb6"];

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const named = Object.fromEntries(["bg", "fg", "muted", "panel", "raised", "border", "accent", "good", "warn", "bad"].map((name) => [name, of(`--${name}`)]));
  return { ...named, series: bright(named.panel) ? LIGHT : DARK };
}

export function onTheme(act, signal) {
  const observer = new MutationObserver(act);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  signal.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act, { signal });
}

// Sizes on canvases grow with the page's type, which is larger on large screens.
export const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;

export const font = (scale = 1, weight = "") => `${weight} ${Math.round(12 * rem() * scale)}px system-ui, sans-serif`.trim();

function bright(colour) {
  const numbers = colour.startsWith("#") ? hex(colour) : (colour.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  return 0.3 * numbers[0] + 0.6 * numbers[1] + 0.1 * numbers[2] > 128;
}

function hex(colour) {
  const full = colour.length === 4 ? [...colour.slice(1)].map((c) => c + c).join("") : colour.slice(1);
  return [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16));
}

// Matplotlib's viridis and turbo, by a few of their colours.
const VIRIDIS = ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"];
const TURBO = ["30123b", "4662d7", "36aaf9", "1ae4b6", "72fe5e", "c8ef34", "faba39", "f66b19", "cb2a04", "7a0403"];

const scale = (stops) => (share) => {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const [low, high] = [hex(`#${stops[Math.floor(at)]}`), hex(`#${stops[Math.ceil(at)]}`)];
  return low.map((value, k) => Math.round(value + (high[k] - value) * (at - Math.floor(at))));
};

export const viridis = scale(VIRIDIS);
export const turbo = scale(TURBO);
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
