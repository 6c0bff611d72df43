// Talks to the server: data in and out as JSON, faults as sentences for people.

export class Fault extends Error {
  constructor(status, fault) {
    super(fault.what);
    Object.assign(this, { status, fault });
  }

  get text() {
    const { what, got, expected, mend } = this.fault;
    const more = [got && `found: ${got}`, expected && `expected: ${expected}`, mend && `what to do: ${mend}`];
    return [what, ...more.filter(Boolean)].join("\n");
  }
}

export async function call(method, url, body, signal) {
  const init = { method, headers: { accept: "application/json" }, signal };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault(0, { what: "the server does not answer", mend: "see whether `thon serve` still runs" });
  }
  const told = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Fault(response.status, told?.what ? told : { what: `the server answered ${response.status}` });
  return told;
}

export const get = (url, signal) => call("GET", url, undefined, signal);
export const post = (url, body = {}) => call("POST", url, body);

// Shows a sentence in the corner, for a while unless it is a fault.
export function tell(text, kind = "") {
  const note = document.createElement("div");
  note.className = `notice ${kind}`;
  const words = document.createElement("span");
  words.className = "grow";
  words.textContent = text;
  const close = document.createElement("button");
  close.className = "quiet";
  close.textContent = "Close";
  close.onclick = () => note.remove();
  note.append(words, close);
  document.getElementById("told").append(note);
  if (kind !== "bad") setTimeout(() => note.remove(), 5000);
}

export function complain(error) {
  if (error.name === "AbortError") return;
  tell(error instanceof Fault ? error.text : String(error), "bad");
}

export const page = document.body.dataset;
