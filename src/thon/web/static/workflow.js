// Exports jobs as a template, and runs one: what it asks for is asked for as soon as it can be read.

import { Fault, complain, page, post } from "./api.js";
import "./browse.js";
import { element } from "./words.js";

const text = document.getElementById("flow-text");
const said = document.getElementById("flow-said");
const inputs = document.getElementById("flow-inputs");

function exported() {
  const query = new URLSearchParams({ title: document.getElementById("flow-title").value });
  const job = document.getElementById("flow-job").value;
  if (job) query.append("job", job);
  if (document.getElementById("flow-all").checked) query.set("all_options", "true");
  return `${page.api}/workflow?${query}`;
}

document.getElementById("export")?.addEventListener("input", () => {
  document.getElementById("flow-download").href = exported();
});

document.getElementById("flow-show")?.addEventListener("click", async () => {
  try {
    const response = await fetch(exported());
    if (!response.ok) throw new Fault(response.status, await response.json());
    text.value = await response.text();
    ask();
  } catch (error) {
    complain(error);
  }
});

document.getElementById("flow-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) text.value = await file.text();
  ask();
});

let waiting = 0;
text.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(ask, 400);
});

async function ask() {
  said.textContent = "";
  if (!text.value.trim()) return inputs.replaceChildren();
  try {
    const asked = await post(`${page.api}/workflow/inputs`, { text: text.value });
    inputs.replaceChildren(...Object.entries(asked).map(([name, what]) => field(name, what)));
  } catch (error) {
    inputs.replaceChildren();
    said.textContent = error instanceof Fault ? error.text : String(error);
  }
}

function field(name, what) {
  const row = element("div", "", "field narrow");
  const label = element("label", name);
  label.htmlFor = `flow-input-${name}`;
  const control = element("div", "", "control");
  const input = document.createElement("input");
  Object.assign(input, { id: label.htmlFor, name, placeholder: "J003, or a path" });
  const button = element("button", "Browse");
  button.type = "button";
  button.dataset.browse = input.id;
  control.append(input, button);
  row.append(label, control, element("div", what, "help"));
  return row;
}

async function run(now) {
  const given = Object.fromEntries([...inputs.querySelectorAll("input")].filter((one) => one.value.trim()).map((one) => [one.name, [one.value.trim()]]));
  try {
    await post(`${page.api}/workflow`, { text: text.value, inputs: given, run: now, lane: document.getElementById("lane").value || null });
    location.assign(`${page.page}/`);
  } catch (error) {
    said.textContent = error instanceof Fault ? error.text : String(error);
  }
}

document.getElementById("flow-run").addEventListener("click", () => run(true));
document.getElementById("flow-save").addEventListener("click", () => run(false));
