// Buttons and forms that change something:
//   data-post="URL …"   posts data-body (JSON), with the lane that is chosen in data-lane, to one after another, once
//                       data-sure was answered; then goes to data-go, or shows the page anew
//   form data-send="URL"  posts its fields; {names} in data-go are taken from the answer, then from the fields
//   data-copy="TEXT"    copies
//   data-dialog="ID"    opens a dialogue; data-close closes it
//   form data-filter="#ID"  shows the page with its fields in the URL, as one types

import { call, complain, tell } from "./api.js";
import { refresh } from "./refresh.js";

export async function act(button) {
  const { post: url, body = "{}", lane, sure, go, method = "POST", said } = button.dataset;
  if (sure && !confirm(sure)) return;
  const given = JSON.parse(body);
  if (lane) given.lane = document.getElementById(lane).value;
  button.disabled = true;
  try {
    let answer = null;
    for (const one of url.split(" ")) answer = await call(method, one, method === "DELETE" ? undefined : given);
    if (go) location.assign(filled(go, answer));
    else await refresh();
    if (said) tell(filled(said, answer));
  } catch (error) {
    complain(error);
  }
  button.disabled = false;
}

const at = (value, path) => path.split(".").reduce((one, name) => one?.[name], value);
const filled = (text, ...values) =>
  text.replace(/\{([\w.]+)\}/g, (_, path) => encodeURIComponent(values.map((one) => at(one, path)).find((one) => one != null) ?? ""));

export function fieldsOf(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled) continue;
    if (field.type === "checkbox") found[field.name] = field.checked;
    else if (field.type === "number") found[field.name] = field.value === "" ? null : Number(field.value);
    else if (field.dataset.tags !== undefined) Object.assign(found, differences(field));
    else if (field.dataset.optional !== undefined && field.value === "") continue;
    else found[field.name] = field.value;
  }
  return found;
}

// What to add to the tags that there were, and what to take away.
function differences(field) {
  const before = field.dataset.tags.split(" ").filter(Boolean);
  const now = field.value.split(/[\s,]+/).filter(Boolean);
  return { add: now.filter((tag) => !before.includes(tag)), remove: before.filter((tag) => !now.includes(tag)) };
}

async function send(form) {
  const fields = fieldsOf(form);
  const button = form.querySelector("button.primary");
  button.disabled = true;
  try {
    const answer = await call(form.dataset.method ?? "POST", filled(form.dataset.send, fields), fields);
    form.closest("dialog")?.close();
    if (form.dataset.go !== undefined) location.assign(filled(form.dataset.go, answer, fields) || location.href);
    else await refresh();
    if (form.dataset.said) tell(form.dataset.said);
  } catch (error) {
    complain(error);
  }
  button.disabled = false;
}

let asked = 0;

async function filter(form) {
  for (const box of form.querySelectorAll("[data-joined]")) {
    const name = box.dataset.joined;
    const all = form.querySelectorAll(`[data-joined="${name}"]:checked`);
    form.elements[name].value = [...all].map((one) => one.value).join(",");
  }
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  const url = `${form.action}?${new URLSearchParams(filled)}`;
  history.replaceState(null, "", url);
  clearTimeout(asked);
  asked = setTimeout(() => refresh(url), 150);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-post], [data-copy], [data-dialog], [data-close]");
  if (!button) return;
  if (button.dataset.post !== undefined) act(button);
  else if (button.dataset.copy !== undefined) {
    navigator.clipboard.writeText(button.dataset.copy).then(() => tell("Copied"), complain);
  } else if (button.dataset.dialog) document.getElementById(button.dataset.dialog).showModal();
  else button.closest("dialog").close();
});

document.addEventListener("submit", (event) => {
  if (event.target.dataset.send !== undefined || event.target.dataset.filter !== undefined) event.preventDefault();
  if (event.target.dataset.send !== undefined) send(event.target);
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-filter]");
  if (form) filter(form);
});
