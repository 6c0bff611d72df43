// The job builder: checks while one types, tells the command, tries, and places the job.

import { Fault, complain, page, post } from "./api.js";
import "./browse.js";
import { everyOption, fields, filled, isChanged, mark, sourcesOf, wire } from "./form.js";
import { duration, element, sizeText } from "./words.js";

const PATIENCE = 300; // after the last stroke, ms

const form = document.getElementById("builder");
const checked = document.getElementById("checked");
const typed = document.getElementById("typed");
let waiting = 0;
let round = 0;

const wordsOf = (id) => document.getElementById(id).value.split(/[\s,]+/).filter(Boolean);
const request = () => ({ type: form.dataset.type, ...filled(form), after: wordsOf("after") });

function remember() {
  const query = new URLSearchParams({ type: form.dataset.type });
  if (form.dataset.from) query.set("from", form.dataset.from);
  const now = filled(form);
  const walk = (values, prefix) => {
    for (const [name, value] of Object.entries(values)) {
      if (value !== null && typeof value === "object" && !Array.isArray(value)) walk(value, `${prefix}${name}.`);
      else query.set(`${prefix}${name}`, typeof value === "string" ? value : JSON.stringify(value));
    }
  };
  walk(now.options, "options.");
  walk(now.settings, "settings.");
  for (const port of form.querySelectorAll("[data-port]")) {
    for (const source of sourcesOf(port)) query.append(`inputs.${port.dataset.port}`, source);
  }
  history.replaceState(null, "", `?${query}`);
}

function say(kind, text) {
  checked.className = `notice small ${kind}`;
  checked.textContent = text;
}

function countChanges() {
  const count = fields(form).filter(isChanged).length;
  document.getElementById("changes").textContent = count ? `${count} changed` : "all as by default";
}

async function check() {
  const mine = ++round;
  countChanges();
  try {
    const told = await post(`${page.api}/validate`, request());
    if (mine !== round) return;
    const rest = mark(form, told.errors);
    if (told.errors.length) say("bad", rest.join("\n") || `${told.errors.length} to mend, marked beside ${told.errors.length === 1 ? "its field" : "their fields"}`);
    else say("", "Ready to run");
    typed.textContent = told.command || `thon ${form.dataset.type} …`;
    document.getElementById("typed-copy").dataset.copy = typed.textContent;
  } catch (error) {
    if (mine === round) say("bad", error instanceof Fault ? error.text : String(error));
  }
}

function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    remember();
    check();
  }, PATIENCE);
}

function iterationOf() {
  const chosen = document.getElementById("iteration")?.value;
  return chosen ? Number(chosen) : null;
}

const create = (run, lane) =>
  post(`${page.api}/jobs`, { ...request(), run, lane, title: document.getElementById("new-title").value, tags: wordsOf("new-tags") });

// From an iteration of the job that was cloned.
const goOn = (run, lane) =>
  post(`${page.api}/jobs/${form.dataset.from}/clone`, { options: everyOption(form), inputs: filled(form).inputs, after: wordsOf("after"), iteration: iterationOf(), run, lane });

async function place(run) {
  const buttons = [document.getElementById("run"), document.getElementById("save")];
  for (const button of buttons) button.disabled = true;
  const lane = document.getElementById("lane").value || null;
  try {
    const { jobs } = await (iterationOf() === null ? create(run, lane) : goOn(run, lane));
    location.assign(jobs.length === 1 ? `${page.page}/jobs/${jobs[0]}` : `${page.page}/`);
  } catch (error) {
    complain(error);
    check();
    for (const button of buttons) button.disabled = false;
  }
}

async function tryIt() {
  const panel = document.getElementById("plan");
  const place = document.getElementById("planned");
  panel.hidden = false;
  place.replaceChildren(element("p", "Looking at the inputs …", "muted"));
  try {
    place.replaceChildren(...drawn(await post(`${page.api}/dry-run`, request())));
  } catch (error) {
    place.replaceChildren(element("p", error instanceof Fault ? error.text : String(error), "bad"));
  }
}

function* drawn(plan) {
  const facts = element("dl", "", "facts");
  const add = (name, text, kind = "") => facts.append(element("dt", name), element("dd", text, kind));
  add("memory", `${plan.memory === null ? "not known" : sizeText(plan.memory)} of ${sizeText(plan.allowed_memory)} allowed`, plan.memory > plan.allowed_memory ? "warn" : "");
  add("disk", `${sizeText(plan.disk)} of ${sizeText(plan.free_disk)} free`, plan.disk > plan.free_disk ? "bad" : "");
  add("time", plan.seconds ? `about ${duration(plan.seconds)}` : "not known");
  add("uses", `${plan.threads} threads, ${plan.device}`);
  if (plan.items !== 1) add("items", plan.looked < plan.items ? `${plan.items}, of which ${plan.looked} were looked at` : plan.items);
  yield facts;
  for (const one of plan.plans.slice(0, 12)) {
    yield element("h3", plan.items === 1 ? one.step : `${one.item}: ${one.step}`);
    const list = document.createElement("ul");
    for (const text of [...(one.plan?.understood ?? []), ...(one.plan?.geometry ?? [])]) list.append(element("li", text));
    for (const text of one.warnings) list.append(element("li", text, "warn"));
    if (one.error) list.append(element("li", one.error, "bad"));
    if (!one.plan && !one.error) list.append(element("li", "depends on what the steps before will find", "muted"));
    yield list;
  }
}

wire(form);
form.addEventListener("input", soon);
form.addEventListener("change", soon);
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("run").addEventListener("click", () => place(true));
document.getElementById("save").addEventListener("click", () => place(false));
document.getElementById("try").addEventListener("click", tryIt);
check();
