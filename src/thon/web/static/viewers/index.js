// Shows data in the page: `mount(element, view)` fills an element with the viewer of a view, as the API's
// `…/items/{item}/views` describes it. Viewers are loaded, and data asked for, when the element comes into sight.

import { element } from "./dom.js";

const KINDS = new Set([
  "alignment", "classes", "ctf", "directions", "facts", "files", "fsc", "guinier", "iterations", "log", "micrograph",
  "motion", "particles", "slices", "surface", "table", "tilts",
]);

const mounted = new WeakMap();

const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      sight.unobserve(entry.target);
      mounted.get(entry.target)?.begin();
    }
  },
  { rootMargin: "400px" },
);

export function mount(target, view) {
  unmount(target);
  const life = new AbortController();
  const begin = async () => {
    try {
      if (!KINDS.has(view.kind)) throw new Error(`there is no viewer for ${view.kind}`);
      const { show } = await import(`./${view.kind}.js`);
      if (!life.signal.aborted) await show(target, view, life.signal);
    } catch (error) {
      if (!life.signal.aborted && error.name !== "AbortError") complainIn(target, error);
    }
  };
  mounted.set(target, { life, begin });
  target.classList.add("viewer", `viewer-${view.kind}`);
  sight.observe(target);
}

export function unmount(target) {
  const known = mounted.get(target);
  if (!known) return;
  sight.unobserve(target);
  known.life.abort();
  mounted.delete(target);
  target.classList.remove(...[...target.classList].filter((name) => name.startsWith("viewer")));
  target.replaceChildren();
}

export function mountAll(root = document) {
  for (const target of root.querySelectorAll("[data-view]")) {
    if (!mounted.has(target)) mount(target, JSON.parse(target.dataset.view));
  }
}

function complainIn(target, error) {
  target.replaceChildren(element("p", { class: "notice bad lines", role: "alert" }, error.text ?? String(error.message ?? error)));
}
