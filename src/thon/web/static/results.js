// Shows an item of a job in the viewers that fit its data, and goes from item to item without loading the page anew.

import { complain, get } from "./api.js";

let mounted = [];
let asked = new AbortController();

async function show() {
  asked.abort();
  asked = new AbortController();
  const result = document.getElementById("result");
  const place = document.getElementById("views");
  if (!result || !place || result.dataset.state !== "done") return;
  const { mount, unmount } = await import("./viewers/index.js");
  try {
    const found = await get(result.dataset.views, asked.signal);
    const views = Array.isArray(found) ? found : found.views;
    for (const element of mounted) unmount(element);
    mounted = views.map((view) => {
      const element = document.createElement("section");
      element.className = "panel view";
      element.dataset.testid = `view-${view.kind}`;
      element.setAttribute("aria-label", view.title);
      const head = document.createElement("h2");
      head.textContent = view.title;
      const body = document.createElement("div");
      element.append(head, body);
      place.append(element);
      mount(body, view);
      return body;
    });
    // The viewers show what the page had for those without scripts.
    const pictures = document.getElementById("pictures");
    if (pictures && views.length) pictures.open = false;
    document.getElementById("plain").hidden = views.length > 0;
  } catch (error) {
    complain(error);
  }
}

async function go(url, push = true) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const result = fresh.getElementById("result");
  if (!result) return location.assign(url);
  for (const element of mounted) (await import("./viewers/index.js")).unmount(element);
  mounted = [];
  document.getElementById("result").replaceWith(document.adoptNode(result));
  for (const link of document.querySelectorAll("#items a[data-name]")) {
    if (link.dataset.name === result.dataset.name) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (push) history.pushState(null, "", url);
  await show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#items a[data-name]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = new URL(location); // with what is chosen in the viewers
  url.searchParams.set("item", link.dataset.name);
  go(url.href).catch(complain);
});

// What was not done when the page was loaded may be done by now.
document.addEventListener("refreshed", (event) => {
  const before = document.getElementById("result");
  const now = event.detail.getElementById("result");
  if (!now?.dataset.name) return;
  if (!before) location.reload();
  else if (now.dataset.name === before.dataset.name && now.dataset.state !== before.dataset.state) go(location.href, false).catch(complain);
});

addEventListener("popstate", () => go(location.href, false).catch(complain));
show();
