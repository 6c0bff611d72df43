// Keeps the page as the project is: parts marked data-live are fetched again when something has happened.

import { page } from "./api.js";
import { element } from "./words.js";

const QUIET = 1000; // between two looks, ms
const SLOW = 5000; // between two looks while no events come, ms
const SOON = 1500; // before a look at what is still being found out (data-pending), ms

let last = 0;
let planned = 0;
let lost = null; // the notice that what is shown may be old

export async function refresh(url = location.href) {
  last = Date.now();
  const parts = [...document.querySelectorAll("[data-live][id]")].filter((part) => !part.contains(openMenu()));
  if (!parts.length) return;
  const response = await fetch(url, { headers: { accept: "text/html" } }).catch(() => null);
  warn(response);
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts) {
    const found = fresh.getElementById(part.id);
    if (found) await morph(part, found.outerHTML);
  }
  document.dispatchEvent(new CustomEvent("refreshed", { detail: fresh }));
}

// Says, as long as it is so, that the page cannot be kept as the project is.
function warn(response) {
  const known = lost?.dataset.status;
  const status = String(response?.status ?? 0);
  if (known === status) return;
  lost?.remove();
  lost = response?.ok ? null : notice(status);
  if (lost) document.getElementById("told").append(lost);
}

function notice(status) {
  const out = ["401", "403"].includes(status);
  const made = element("div", "", "notice bad");
  made.dataset.status = status;
  made.dataset.testid = "lost";
  const why = out ? "You are not logged in any more. " : status === "0" ? "The server does not answer. " : `The server answered ${status}. `;
  made.append(element("span", `${why}What is shown is as it was at ${new Date().toLocaleTimeString()}.`, "grow"));
  if (out) {
    const link = element("a", "Log in again");
    link.href = location.href;
    made.append(link);
  }
  return made;
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
  events.onopen = () => {
    clearInterval(timer);
    if (lost) plan();
  };
  events.onerror = () => {
    clearInterval(timer);
    plan();
    timer = setInterval(plan, SLOW);
  };
  document.addEventListener("visibilitychange", plan);
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
