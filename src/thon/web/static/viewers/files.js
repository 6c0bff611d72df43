// The files of an item: pictures, tables, texts and volumes are opened in place, all can be downloaded.

import { get } from "../api.js";
import { element, number } from "./dom.js";
import { mount, unmount } from "./index.js";
import { query, stateOf } from "./state.js";

export function show(target, view, signal) {
  const state = stateOf(view, { open: "" });
  const place = element("div", { class: "viewer-opened" });
  const links = view.entries.map((entry) => {
    const open = element("button", { type: "button", class: "quiet", disabled: entry.kind === "other", onclick: () => toggle(entry, open) }, entry.kind === "other" ? "" : "Show");
    open.setAttribute("aria-label", `Show ${entry.name}`);
    return { entry, open, row: element("tr", {}, element("td", { class: "wide" }, element("a", { href: `${view.url}/file?${query({ source: entry.source })}`, download: "" }, entry.name)), element("td", { class: "n muted" }, size(entry.bytes)), element("td", { class: "n" }, open)) };
  });
  target.append(element("table", { class: "data" }, element("tbody", {}, ...links.map((one) => one.row))), place);
  const toggle = (entry) => {
    const shown = state.open === entry.name;
    for (const child of place.children) unmount(child);
    place.replaceChildren();
    state.set({ open: shown ? "" : entry.name });
    if (!shown) reveal(entry);
  };
  const reveal = (entry) => {
    const box = element("div", {});
    place.append(element("h3", {}, entry.name), box);
    if (entry.kind === "image") box.append(element("img", { src: `${view.url}/file?${query({ source: entry.source, inline: true })}`, alt: entry.name, class: "viewer-picture" }));
    else if (entry.kind === "text") text(box, view, entry, signal);
    else if (entry.kind === "table") mount(box, { ...view, kind: "table", source: entry.source });
    else mount(box, { ...view, kind: "slices", sources: [{ source: entry.source, title: entry.name }] });
    place.scrollIntoView({ block: "nearest" });
  };
  const given = view.entries.find((one) => one.name === state.open);
  if (given) reveal(given);
  signal.addEventListener("abort", () => [...place.children].forEach(unmount));
}

async function text(box, view, entry, signal) {
  const found = await get(`${view.url}/text?${query({ source: entry.source })}`, signal);
  box.append(element("pre", { class: "log", tabindex: 0 }, found.text), found.whole ? "" : element("p", { class: "muted" }, "Only the beginning is shown."));
}

function size(bytes) {
  const power = bytes ? Math.min(Math.floor(Math.log10(bytes) / 3), 4) : 0;
  return `${number(bytes / 1000 ** power, 3)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}
