// Keeps the page as the project is: parts marked data-live are fetched again when something has happened.

import { page } from "./api.js";

const QUIET = 1000; // between two looks, ms
const SLOW = 5000; // between two looks while no events come, ms
const SOON = 1500; // before a look at what is still being found out (data-pending), ms

let last = 0;
let planned = 0;

export async function refresh(url = location.href) {
  last = Date.now();
  const parts = [...document.querySelectorAll("[data-live][id]")].filter((part) => !part.contains(openMenu()));
  if (!parts.length) return;
  const response = await fetch(url, { headers: { accept: "text/html" } }).catch(() => null);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts) {
    const found = fresh.getElementById(part.id);
    if (found) await morph(part, found.outerHTML);
  }
  document.dispatchEvent(new CustomEvent("refreshed", { detail: fresh }));
}

async function morph(part, html) {
  await htmx.swap({ target: part, text: html, swap: "outerMorph", sourceElement: document.body });
}

// A list that a person has just opened is not changed under the hand.
function openMenu() {
  const at = document.activeElement;
  return at && at.matches("select, input:not([type=search]), textarea") ? at : null;
}

function lookAgain() {
  if (document.querySelector("[data-pending]")) setTimeout(() => refresh().then(lookAgain), SOON);
}

function plan() {
  if (planned || document.hidden) return;
  planned = setTimeout(() => {
    planned = 0;
    refresh();
  }, Math.max(0, last + QUIET - Date.now()));
}

lookAgain();

if (page.api && document.querySelector("[data-live]")) {
  const events = new EventSource(`${page.api}/events`);
  let timer = 0;
  for (const kind of ["job", "gone", "said", "live", "reset"]) events.addEventListener(kind, plan);
  events.onopen = () => clearInterval(timer);
  events.onerror = () => {
    clearInterval(timer);
    timer = setInterval(plan, SLOW);
  };
  document.addEventListener("visibilitychange", plan);
  addEventListener("pagehide", () => events.close());
}
