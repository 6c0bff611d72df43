// A job's log as it grows: followed, filtered by level and by text.

import { get } from "../api.js";
import { bar, choice, element, toggle } from "./dom.js";
import { query, stateOf } from "./state.js";

export async function show(target, view, signal) {
  const state = stateOf(view, { level: "info", contains: "", follow: true });
  const lines = element("pre", { class: "log", tabindex: 0, role: "log", "aria-label": `Log of ${view.job}` });
  const base = `${document.body.dataset.api}/jobs/${encodeURIComponent(view.job)}/loglines`;
  let next = 0;
  let timer;
  const more = async () => {
    const found = await get(`${base}?${query({ after: next, level: state.level, contains: state.contains })}`, signal);
    next = found.next;
    lines.append(...found.lines.map(line));
    if (state.follow && found.lines.length) lines.scrollTop = lines.scrollHeight;
  };
  const loop = async () => {
    await more().catch(() => {});
    if (!signal.aborted) timer = setTimeout(loop, 1000);
  };
  const again = () => {
    clearTimeout(timer);
    next = 0;
    lines.replaceChildren();
    loop();
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  target.append(
    bar(
      choice("Level", [["all", "Everything"], ["info", "Sentences"], ["warning", "Warnings"], ["error", "Errors"]], state.level, (level) => { state.set({ level }); again(); }),
      element("input", { type: "search", "aria-label": "Only lines with", placeholder: "Only lines with", value: state.contains, onchange: (event) => { state.set({ contains: event.target.value }); again(); } }),
      toggle("Follow", state.follow, (follow) => state.set({ follow }), { title: "Stay at the end" }),
    ),
    lines,
  );
  await loop();
}

function line(one) {
  const time = one.time ? new Date(1000 * one.time).toLocaleTimeString([], { hour12: false }) : "";
  const kind = { warning: "warn", error: "bad" }[one.level] ?? "";
  return element("span", { class: kind }, element("span", { class: "muted" }, `${time}  `), one.item && one.item !== "all" ? `${one.item}  ` : "", `${one.text}\n`);
}
