// Chooses a file or folder on the server: a button with data-browse="ID" fills the input of that id.

import { complain, get, page } from "./api.js";
import { sizeText } from "./words.js";

const dialog = document.getElementById("browse");
const path = document.getElementById("browse-path");
const find = document.getElementById("browse-find");
const list = document.getElementById("browse-entries");
const take = document.getElementById("browse-take");
let target = null;
let listing = null;
let chosen = null;

async function show(folder) {
  try {
    listing = await get(`${page.api}/browse?path=${encodeURIComponent(folder)}`);
  } catch (error) {
    return complain(error);
  }
  path.value = listing.path;
  find.value = "";
  choose(null);
  draw();
}

function draw() {
  const wanted = find.value.toLowerCase();
  const entries = listing.entries.filter((entry) => entry.name.toLowerCase().includes(wanted));
  const rows = entries.map((entry) => row(entry.name + (entry.folder ? "/" : ""), entry.folder ? "" : sizeText(entry.bytes), entry));
  const roots = (listing.parent ? [listing.parent] : listing.roots.filter((root) => root !== listing.path)).map((root) =>
    row(listing.parent ? "⟵ up" : root, "", { path: root, folder: true }),
  );
  list.replaceChildren(...roots, ...rows);
}

function row(name, size, entry) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  const told = document.createElement("span");
  told.className = "size";
  told.textContent = size;
  button.append(told);
  button.setAttribute("aria-pressed", String(entry === chosen));
  button.onclick = () => (entry.folder ? show(entry.path) : choose(entry));
  button.ondblclick = () => !entry.folder && done(entry.path);
  item.append(button);
  return item;
}

function choose(entry) {
  chosen = entry;
  take.textContent = entry ? `Take ${entry.name}` : "Take this folder";
  if (entry) draw();
}

function done(value) {
  dialog.close();
  target.value = value;
  target.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-browse]");
  if (!button) return;
  target = document.getElementById(button.dataset.browse);
  dialog.showModal();
  const now = target.value.trim();
  show(now.startsWith("/") ? now.replace(/\/[^/]*$/, "") || "/" : "");
});

take.addEventListener("click", () => done(chosen ? chosen.path : listing.path));
find.addEventListener("input", draw);
path.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  show(path.value);
});
