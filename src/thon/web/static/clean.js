// Says first what cleaning would remove, and removes it once that was seen.

import { complain, page, post, tell } from "./api.js";
import { refresh } from "./refresh.js";
import { element, sizeText } from "./words.js";

const dialog = document.getElementById("cleaning");
const WHAT = {
  leftovers: "Checkpoints, kept iterations and interim results of finished jobs. Nobody needs them but to begin another job at an iteration.",
  outputs: "The outputs of all jobs that no final result goes back to, and what is left over of the others. Mark the results to be kept as final first.",
};
let outputs = false;

function table(removed) {
  const made = element("table", "", "data");
  const body = made.createTBody();
  for (const one of removed) {
    const row = body.insertRow();
    for (const text of [one.job, one.outputs ? "outputs" : one.what.join(", ")]) row.insertCell().textContent = text;
    const size = row.insertCell();
    size.className = "n";
    size.textContent = sizeText(one.bytes);
  }
  return made;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-clean]");
  if (!button) return;
  outputs = button.dataset.clean === "outputs";
  try {
    const told = await post(`${page.api}/clean`, { outputs, dry_run: true });
    document.getElementById("cleaning-what").textContent = WHAT[button.dataset.clean];
    document.getElementById("cleaning-list").replaceChildren(told.removed.length ? table(told.removed) : element("p", "There is nothing to remove."));
    const remove = document.getElementById("cleaning-do");
    remove.textContent = `Remove ${sizeText(told.bytes)}`;
    remove.disabled = !told.removed.length;
    dialog.showModal();
  } catch (error) {
    complain(error);
  }
});

document.getElementById("cleaning-do").addEventListener("click", async () => {
  try {
    const told = await post(`${page.api}/clean`, { outputs, dry_run: false });
    dialog.close();
    tell(`${sizeText(told.bytes)} freed`);
    await refresh();
  } catch (error) {
    complain(error);
  }
});
