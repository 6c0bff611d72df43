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

if (document.querySelector("[data-view]")) import("./viewers/index.js").then(({ mountAll }) => mountAll());

// What grows is shown from its end, unless somebody has gone back in it.
const wentBack = new WeakSet();

function follow() {
  for (const place of document.querySelectorAll("[data-follow]")) {
    if (!wentBack.has(place)) place.scrollTop = place.scrollHeight;
  }
}

document.addEventListener(
  "scroll",
  ({ target }) => {
    if (!target.dataset || target.dataset.follow === undefined) return;
    if (target.scrollTop + target.clientHeight < target.scrollHeight - 20) wentBack.add(target);
    else wentBack.delete(target);
  },
  true,
);
document.addEventListener("refreshed", follow);
follow();
