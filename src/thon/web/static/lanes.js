// Tests a lane: a small job goes through it and tells what it found.

import { Fault, page, post } from "./api.js";
import { duration, element, sizeText } from "./words.js";

const text = (value) => (Array.isArray(value) ? value.join(", ") : value === true ? "yes" : value === false ? "no" : String(value));

function* drawn(told) {
  for (const trouble of told.troubles) yield element("p", trouble, "notice bad");
  if (!told.troubles.length) yield element("p", `It works. The job waited ${duration(told.waited)}${told.batch ? ` as ${told.batch}` : ""}.`, "notice");
  for (const report of told.reports) {
    const facts = element("dl", "", "facts");
    for (const [name, value] of Object.entries(report)) {
      if (value === null || value === "" || (Array.isArray(value) && !value.length)) continue;
      facts.append(element("dt", name.replaceAll("_", " ")), element("dd", name === "memory" ? sizeText(value) : text(value)));
    }
    yield facts;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-test]");
  if (!button) return;
  const place = document.querySelector(`[data-tested="${CSS.escape(button.dataset.test)}"]`);
  button.disabled = true;
  place.replaceChildren(element("p", "A small job goes through it …", "muted"));
  try {
    place.replaceChildren(...drawn(await post(`${page.api}/lanes/${encodeURIComponent(button.dataset.test)}/test`)));
  } catch (error) {
    place.replaceChildren(element("p", error instanceof Fault ? error.text : String(error), "notice bad"));
  }
  button.disabled = false;
});
