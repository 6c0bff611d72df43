// Moves through lists by j and k, opens by Enter, and follows a click on a row.

const items = () => [...document.querySelectorAll("[data-item]")].filter((item) => item.offsetParent !== null || item.closest("svg"));
const chosen = () => document.querySelector('[data-item][aria-selected="true"]');

function choose(item) {
  chosen()?.removeAttribute("aria-selected");
  item.setAttribute("aria-selected", "true");
  const link = item.matches("a") ? item : item.querySelector("a");
  link?.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export function move(step) {
  const all = items();
  if (!all.length) return;
  const focused = document.activeElement?.closest("[data-item]");
  const at = all.indexOf(focused ?? chosen());
  choose(all[Math.min(Math.max(at + step, 0), all.length - 1)]);
}

export function open() {
  const item = chosen();
  const link = item?.matches("a") ? item : item?.querySelector("a");
  if (link && document.activeElement !== link) link.click();
}

document.addEventListener("click", (event) => {
  const row = event.target.closest("[data-href]");
  if (!row || event.target.closest("a, button, input, select, label") || getSelection().toString()) return;
  location.assign(row.dataset.href);
});
