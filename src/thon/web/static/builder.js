// The job builder: checks while one types, tells the command, tries, and places the job.

import { Fault, complain, page, post } from "./api.js";
import "./browse.js";
import { everyOption, fields, filled, isChanged, isOpen, mark, sourcesOf, wire } from "./form.js";
import { duration, element, namedFields, sizeText } from "./words.js";

const PATIENCE = 300; // after the last stroke, ms

const form = document.getElementById("builder");
const checked = document.getElementById("checked");
const typed = document.getElementById("typed");
let waiting = 0;
let round = 0;
let last = ""; // what was checked
let touched = false; // Before that, nobody is told that something is still to be filled in.

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
  const asked = request();
  last = JSON.stringify(asked);
  countChanges();
  try {
    const told = await post(`${page.api}/validate`, asked);
    if (mine !== round) return;
    const errors = touched ? told.errors : told.errors.filter((one) => !isOpen(form, one.field));
    const rest = mark(form, errors);
    if (!errors.length && told.errors.length) say("", "Fill in what has a *");
    else if (errors.length) say("bad", namedFields(rest.join("\n")) || `${errors.length} to mend, marked beside ${errors.length === 1 ? "its field" : "their fields"}`);
    else say("", "Ready to run");
    typed.textContent = told.command || `thon ${form.dataset.type} …`;
    document.getElementById("typed-copy").dataset.copy = typed.textContent;
  } catch (error) {
    if (mine === round) say("bad", error instanceof Fault ? error.text : String(error));
  }
}

function soon() {
  touched = true;
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    // To leave a field that was typed in is no change.
    if (JSON.stringify(request()) === last) return;
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
  touched = true;
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
    const plan = await post(`${page.api}/dry-run`, request());
    place.replaceChildren(...drawn(plan));
    if (plan.plans.some((one) => one.error)) say("bad", "The dry run found a mistake");
  } catch (error) {
    say("bad", "The dry run found a mistake");
    place.replaceChildren(element("p", error instanceof Fault ? error.text : String(error), "bad"));
  }
  panel.scrollIntoView({ block: "nearest" });
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
    for (const text of one.warnings) list.append(element("li", namedFields(text), "warn"));
    if (one.error) list.append(element("li", namedFields(one.error), "bad"));
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
