// What every page has: the theme, shortcuts, lists, actions, and parts that follow what happens.

import "./keys.js";
import "./actions.js";
import "./refresh.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.dispatchEvent(new CustomEvent("theme"));
});

if (document.querySelector("[data-view]")) import("./viewers/index.js").then(({ mount }) => {
  for (const element of document.querySelectorAll("[data-view]")) mount(element, JSON.parse(element.dataset.view));
});
