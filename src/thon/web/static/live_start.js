// Starts a live session.

import { Fault, page, post } from "./api.js";
import "./browse.js";
import { filled, mark, wire } from "./form.js";

const form = document.getElementById("live-start");
const go = document.getElementById("live-go");
const said = document.getElementById("live-said");

wire(form);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => filled(form));

go.addEventListener("click", async () => {
  const { options, settings, inputs, live } = { live: {}, ...filled(form) };
  const ports = Object.fromEntries(Object.entries(inputs).map(([name, sources]) => [name, sources[0]]));
  said.textContent = "";
  go.disabled = true;
  try {
    const lane = document.getElementById("lane").value;
    const location = document.getElementById("live-location").value.trim();
    await post(`${page.api}/live/start`, { chain: "live", location, options, ports, settings, live, lane: lane || null });
    window.location.assign(`${page.page}/live`);
  } catch (error) {
    said.textContent = error instanceof Fault ? error.text : String(error);
    mark(form, []);
    go.disabled = false;
  }
});
