// Reads a form of options and inputs as the API takes them, and marks what is changed or wrong.

import { namedFields } from "./words.js";

const words = (text) => text.split(/[\s,;]+/).filter(Boolean);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function numberOf(text) {
  const value = Number(text);
  return text.trim() === "" || Number.isNaN(value) ? text : value;
}

const READ = {
  number: (field) => only(field, numberOf),
  integer: (field) => only(field, numberOf),
  boolean: (field) => input(field).checked,
  maybe: (field) => (input(field).value === "" ? null : input(field).value === "true"),
  choice: (field) => only(field, (text) => (typeof fallback(field) === "number" || /^-?\d+$/.test(text) ? numberOf(text) : text)),
  choices: (field) => [...field.querySelectorAll("input:checked")].map((box) => box.value),
  text: (field) => only(field, (text) => text),
  path: (field) => only(field, (text) => text.trim()),
  words: (field) => words(input(field).value).map((word) => (field.dataset.inner === "string" ? word : numberOf(word))),
  tuple: (field) => {
    const given = [...field.querySelectorAll("input")].map((one) => one.value);
    return given.every((text) => text.trim() === "") ? null : given.map(numberOf);
  },
  json: (field) => only(field, parsed),
};

const input = (field) => field.querySelector("input, select");
const fallback = (field) => JSON.parse(field.dataset.default);

function only(field, read) {
  const text = input(field).value;
  if (text === "") return field.dataset.optional !== undefined ? null : fallback(field);
  return read(text);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const fields = (form) => [...form.querySelectorAll("[data-field]")];

export function isChanged(field) {
  const value = READ[field.dataset.kind](field);
  return field.dataset.required !== undefined ? value !== null && value !== "" : !same(value, fallback(field));
}

function put(target, path, value) {
  const names = path.split(".");
  const last = names.pop();
  for (const name of names) target = target[name] ??= {};
  target[last] = value;
}

export function sourcesOf(port) {
  return [...port.querySelectorAll("[data-source]")]
    .map((source) => {
      const pick = source.querySelector("[data-pick]");
      const typed = source.querySelector("[data-typed]");
      return (!pick || pick.value === "file" ? typed?.value.trim() : pick.value) ?? "";
    })
    .filter(Boolean);
}

// What is filled in: options and settings that are not as by default, and inputs.
export function filled(form) {
  const found = { options: {}, settings: {}, inputs: {} };
  for (const field of fields(form)) {
    const changed = isChanged(field);
    field.classList.toggle("changed", changed);
    if (changed) put(found, field.dataset.field, READ[field.dataset.kind](field));
  }
  for (const port of form.querySelectorAll("[data-port]")) {
    const sources = sourcesOf(port);
    if (sources.length) found.inputs[port.dataset.port] = sources;
  }
  return found;
}

// All options, those that are as by default too.
export function everyOption(form) {
  const found = { options: {} };
  for (const field of fields(form).filter((one) => one.dataset.field.startsWith("options."))) {
    put(found, field.dataset.field, READ[field.dataset.kind](field));
  }
  return found.options;
}

export function reset(field) {
  const value = fallback(field);
  const kind = field.dataset.kind;
  if (kind === "boolean") input(field).checked = value === true;
  else if (kind === "choices") for (const box of field.querySelectorAll("input")) box.checked = (value ?? []).includes(box.value);
  else if (kind === "tuple") field.querySelectorAll("input").forEach((one, k) => (one.value = value?.[k] ?? ""));
  else input(field).value = Array.isArray(value) ? value.join(" ") : (value ?? "");
  input(field).dispatchEvent(new Event("input", { bubbles: true }));
}

const placeOf = (form, field) => {
  const [kind, port] = field.split(".");
  const option = form.querySelector(`[data-field="${CSS.escape(field)}"]`);
  return option ?? (kind === "inputs" ? form.querySelector(`[data-port="${CSS.escape(port ?? "")}"]`) : null);
};

// Whether nothing has been filled in where something has to be.
export function isOpen(form, field) {
  const place = placeOf(form, field);
  if (!place) return false;
  return place.dataset.port === undefined ? !isChanged(place) : !sourcesOf(place).length;
}

// Puts each complaint beside its field; returns those that belong to none.
export function mark(form, errors) {
  for (const place of form.querySelectorAll(".error")) place.textContent = "";
  for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  const rest = [];
  for (const { field, message } of errors) {
    const place = placeOf(form, field);
    if (!place) {
      rest.push(`${field.replace(/^options\.?/, "")} ${message}`.trim());
      continue;
    }
    place.querySelector(".error").textContent = namedFields(message);
    place.querySelector("input, select")?.setAttribute("aria-invalid", "true");
    place.closest("details:not([open])")?.setAttribute("data-hides", "");
  }
  return rest;
}

// Shows the field for a path where a person wants a file rather than a job, and adds sources.
export function wire(form) {
  form.addEventListener("change", (event) => {
    const pick = event.target.closest("[data-pick]");
    if (!pick) return;
    for (const part of pick.parentElement.querySelectorAll("[data-typed], [data-browse]")) part.hidden = pick.value !== "file";
    if (pick.value === "file") pick.parentElement.querySelector("[data-typed]").focus();
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reset], [data-more]");
    if (!button) return;
    if (button.dataset.reset !== undefined) reset(button.closest("[data-field]"));
    else more(button.closest("[data-port]"));
  });
}

function more(port) {
  const sources = port.querySelectorAll("[data-source]");
  const copy = sources[sources.length - 1].cloneNode(true);
  for (const one of copy.querySelectorAll("select, input")) one.value = "";
  const typed = copy.querySelector("[data-typed]");
  if (typed) {
    typed.id = `inputs-${port.dataset.port}-${sources.length + 1}`;
    copy.querySelector("[data-browse]").dataset.browse = typed.id;
  }
  port.querySelector(".sources").append(copy);
  copy.querySelector("select, input").focus();
}
