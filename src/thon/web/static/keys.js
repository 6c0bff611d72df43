// Keyboard shortcuts; none of them works while somebody types.

import { page } from "./api.js";
import { move, open } from "./lists.js";

const PLACES = { j: "/", l: "/live", c: "/log", f: "/files", w: "/why", n: "/new" };
let after = "";

const typing = (event) => event.target.closest("input, textarea, select, [contenteditable], [data-keys]") !== null;

function go(path) {
  location.assign(`${page.page}${path}`);
}

function second(key) {
  if (key === "p") location.assign(`${page.base}/`);
  else if (page.page && key in PLACES) go(PLACES[key]);
}

const KEYS = {
  "?": () => document.getElementById("shortcuts").showModal(),
  "/": () => document.querySelector("[data-search]")?.focus(),
  n: () => page.page && go("/new"),
  j: () => move(1),
  k: () => move(-1),
  Enter: open,
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (typing(event)) event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || document.querySelector("dialog[open]")) return;
  if (after === "g") {
    after = "";
    second(event.key);
  } else if (event.key === "g") {
    after = "g";
    setTimeout(() => (after = ""), 1500);
  } else if (event.key in KEYS) {
    if (event.key !== "Enter") event.preventDefault();
    KEYS[event.key]();
  }
});

document.getElementById("keys")?.addEventListener("click", KEYS["?"]);
