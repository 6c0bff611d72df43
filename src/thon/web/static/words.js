// Numbers for people, as the server tells them.

export function sizeText(count) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (count < 1000) return `${Number(count.toPrecision(3))} ${unit}`;
    count /= 1000;
  }
  return `${Number(count.toPrecision(3))} TB`;
}

export function duration(seconds) {
  if (seconds < 90) return seconds >= 10 || seconds === 0 ? `${seconds.toFixed(0)} s` : `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// What a command says of its options, as the form calls them.
export const namedFields = (text) => text.replace(/(?<![\w-])--([a-z][a-z\d]*(?:-[a-z\d]+)*)/g, (_, name) => `“${name.replaceAll("-", " ")}”`);

export function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
