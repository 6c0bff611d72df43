// What a person has chosen in a viewer lives in the page's URL, as `viewer.name=value`, so that it can be shared.

export function stateOf(view, defaults) {
  const key = (name) => `${view.kind}.${name}`;
  const given = new URL(location).searchParams;
  const state = {};
  for (const [name, value] of Object.entries(defaults)) {
    const text = given.get(key(name));
    state[name] = text === null ? value : parsed(text, value);
  }
  state.set = (changes) => {
    Object.assign(state, changes);
    const url = new URL(location);
    for (const name of Object.keys(changes)) {
      if (String(state[name]) === String(defaults[name])) url.searchParams.delete(key(name));
      else url.searchParams.set(key(name), state[name]);
    }
    history.replaceState(history.state, "", url);
  };
  return state;
}

function parsed(text, like) {
  if (typeof like === "boolean") return text === "true";
  if (typeof like !== "number") return text;
  return Number.isFinite(Number(text)) ? Number(text) : like;
}

export function query(values) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) made.append(name, one);
  }
  return made.toString();
}

// Another item of the same job, shown as the page shows items.
export function goToItem(name) {
  const link = [...document.querySelectorAll("#items a[data-name]")].find((one) => one.dataset.name === name);
  if (link) {
    const url = new URL(location);
    url.searchParams.set("item", name);
    link.href = url;
    link.click();
    return;
  }
  const url = new URL(location);
  url.searchParams.set("item", name);
  location.assign(url);
}
