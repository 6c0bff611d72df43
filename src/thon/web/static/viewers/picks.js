// Picks over a micrograph: shown by score, added, removed, and saved as a job of their own.

import { complain, get, post, tell } from "../api.js";
import { button, element, number, slider, toggle } from "./dom.js";
import { Edits } from "./edits.js";
import { stateOf } from "./state.js";

export async function startPicks({ second, view, viewer, frame, info, signal, redraw }) {
  const found = await get(`${view.url}/picks`, signal);
  const edits = new Edits(view.project, view.job);
  const state = stateOf({ kind: "picks" }, { shown: true, size: found.diameter, edit: false });
  const scores = found.score.filter((score) => score !== null);
  const [low, high] = [Math.min(...scores, 0), Math.max(...scores, 1)];
  const count = element("output", { class: "viewer-count", "aria-live": "polite" });
  const passes = (k) => edits.minScore === null || found.score[k] === null || found.score[k] >= edits.minScore;

  const refresh = () => {
    const { added, removed } = edits.of(found.micrograph);
    const kept = found.y.filter((_, k) => passes(k) && !removed.has(k + 1)).length + added.length;
    count.textContent = `${kept} of ${found.y.length + added.length} picks`;
    undo.disabled = !edits.done.length;
    redo.disabled = !edits.undone.length;
    save.disabled = !edits.changed;
    redraw();
  };
  const change = (one) => {
    edits.act({ item: found.micrograph, ...one });
    refresh();
  };
  const step = (last) => last && refresh();
  const undo = button("Undo", () => step(edits.undo()), { title: "Undo (Ctrl+z)", "data-testid": "picks-undo" });
  const redo = button("Redo", () => step(edits.redo()), { title: "Redo (Ctrl+y)", "data-testid": "picks-redo" });
  const save = button("Save as job", () => saveEdits(view, edits, save, refresh), { class: "primary", "data-testid": "picks-save", title: "Make a job whose picks are these" });
  const showThem = toggle("Show picks", state.shown, (shown) => { state.set({ shown }); redraw(); }, { title: "Show or hide picks (h)" });
  const edit = toggle("Edit", state.edit, (value) => { state.set({ edit: value }); viewer.container.classList.toggle("editing", value); }, { title: "Click adds a pick, or removes the one below it (e)", "data-testid": "picks-edit" });
  viewer.container.classList.toggle("editing", state.edit);
  second.append(
    showThem,
    slider("Least score", { min: low, max: high, step: (high - low) / 200 || 0.01, value: edits.minScore ?? low, told: (value) => number(value, 3), onslide: (value) => { edits.minScore = value > low ? value : null; edits.keep(); refresh(); } }),
    slider("Circle", { min: Math.max(10, found.diameter / 4), max: found.diameter * 3, step: 1, value: state.size, told: (value) => `${number(value, 3)} Å`, onslide: (size) => { state.size = size; redraw(); }, onchange: (size) => state.set({ size }) }),
    edit, undo, redo, count, element("span", { class: "grow" }), save,
  );

  const nearest = (at) => {
    const { added, removed } = edits.of(found.micrograph);
    const reach = state.size / info.pixel_size / 2;
    const places = [
      ...found.y.map((y, k) => ({ y, x: found.x[k], remove: k + 1 })).filter((one) => passes(one.remove - 1) && !removed.has(one.remove)),
      ...added.map((one) => ({ y: one[0], x: one[1], drop: one })),
    ].map((one) => ({ ...one, away: Math.hypot(one.y - at.y, one.x - at.x) }));
    const best = places.sort((one, other) => one.away - other.away)[0];
    return best && best.away < reach ? best : null;
  };
  viewer.addHandler("canvas-click", (event) => {
    if (!state.edit || !event.quick) return;
    event.preventDefaultAction = true;
    const at = frame.toFile(event.position);
    const hit = nearest(at);
    if (hit) change(hit.drop ? { drop: hit.drop } : { remove: hit.remove });
    else if (frame.inside(at)) change({ add: [at.y, at.x] });
  });

  const draw = (paint) => {
    if (!state.shown) return;
    const { added, removed } = edits.of(found.micrograph);
    const radius = (state.size / info.pixel_size / 2) * frame.scale();
    const ring = (y, x, colour, dashed) => {
      const at = frame.toScreen(y, x);
      paint.strokeStyle = colour;
      paint.setLineDash(dashed ? [4, 4] : []);
      paint.beginPath();
      paint.arc(at.x, at.y, radius, 0, 2 * Math.PI);
      paint.stroke();
    };
    paint.lineWidth = 1.6;
    found.y.forEach((y, k) => {
      if (removed.has(k + 1)) ring(y, found.x[k], "rgb(235 90 80 / 80%)", true);
      else if (passes(k)) ring(y, found.x[k], "#2fc79b");
    });
    added.forEach(([y, x]) => ring(y, x, "#f0a030"));
    paint.setLineDash([]);
  };
  return {
    draw,
    begin: refresh,
    keys: {
      e: () => edit.set(!state.edit, true),
      h: () => showThem.set(!state.shown, true),
      "Ctrl+z": () => step(edits.undo()),
      "Ctrl+y": () => step(edits.redo()),
      "Ctrl+Z": () => step(edits.redo()),
    },
  };
}

async function saveEdits(view, edits, save, refresh) {
  save.disabled = true;
  try {
    const placed = await post(`${document.body.dataset.api}/jobs`, { type: "curate-picks", inputs: { picks: [view.job] }, options: edits.options });
    edits.forget();
    tell(`The picks are in ${placed.jobs.join(", ")}.`, "good");
  } catch (error) {
    complain(error);
  }
  refresh();
}
