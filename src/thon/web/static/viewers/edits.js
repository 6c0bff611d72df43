// What a person changed in the picks of a job, over all its micrographs, kept in this tab until it is saved as a job.

export class Edits {
  constructor(project, job) {
    this.key = `thon picks ${project} ${job}`;
    const kept = JSON.parse(sessionStorage.getItem(this.key) ?? "null");
    Object.assign(this, { done: kept?.done ?? [], undone: kept?.undone ?? [], minScore: kept?.minScore ?? null });
  }

  // {item, add: [y, x]}, {item, remove: number from 1} or {item, drop: [y, x]}, which takes an added one back.
  act(change) {
    this.done.push(change);
    this.undone = [];
    this.keep();
  }

  undo() {
    const last = this.done.pop();
    if (last) this.undone.push(last);
    this.keep();
    return last;
  }

  redo() {
    const last = this.undone.pop();
    if (last) this.done.push(last);
    this.keep();
    return last;
  }

  of(item) {
    const added = [];
    const removed = new Set();
    for (const change of this.done.filter((one) => one.item === item)) {
      if (change.add) added.push(change.add);
      else if (change.drop) added.splice(added.findIndex((one) => String(one) === String(change.drop)), 1);
      else removed.add(change.remove);
    }
    return { added, removed };
  }

  get items() {
    return [...new Set(this.done.map((one) => one.item))];
  }

  get changed() {
    return this.items.some((item) => this.of(item).added.length || this.of(item).removed.size) || this.minScore !== null;
  }

  // The options of the job type `curate-picks`.
  get options() {
    const added = this.items.flatMap((item) => this.of(item).added.map(([y, x]) => `${item}:${y.toFixed(1)}/${x.toFixed(1)}`));
    const removed = this.items.flatMap((item) => [...this.of(item).removed].map((number) => `${item}:${number}`));
    return { added, removed, min_score: this.minScore };
  }

  keep() {
    sessionStorage.setItem(this.key, JSON.stringify({ done: this.done, undone: this.undone, minScore: this.minScore }));
  }

  forget() {
    Object.assign(this, { done: [], undone: [], minScore: null });
    sessionStorage.removeItem(this.key);
  }
}
