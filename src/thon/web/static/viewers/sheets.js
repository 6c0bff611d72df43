// Many small images in a grid. They come on sheets of a hundred, which are fetched when their cells come into sight.

import { element } from "./dom.js";

// layout: { count, per_sheet, across, cell: [rows, columns] }; sheet(page) gives a URL; `decorate(cell, k)` fills a cell.
export function sheetGrid(layout, { sheet, size, order, decorate, label, signal }) {
  const [rows, columns] = layout.cell;
  const down = Math.ceil(layout.per_sheet / layout.across);
  const grid = element("div", { class: "viewer-grid", role: "group", "aria-label": label });
  const cells = [];
  const sight = new IntersectionObserver(
    (entries) => entries.filter((one) => one.isIntersecting).forEach(({ target }) => paint(cells.indexOf(target.parentElement))),
    { rootMargin: "600px" },
  );
  signal.addEventListener("abort", () => sight.disconnect());
  const paint = (k) => {
    const picture = cells[k].firstChild;
    const within = k % layout.per_sheet;
    const page = Math.floor(k / layout.per_sheet);
    const onSheet = Math.min(layout.per_sheet, layout.count - page * layout.per_sheet);
    const height = Math.min(down, Math.ceil(onSheet / layout.across));
    picture.style.backgroundImage = `url("${sheet(page)}")`;
    picture.style.backgroundSize = `${layout.across * 100}% ${height * 100}%`;
    const share = (at, of) => (of > 1 ? (at / (of - 1)) * 100 : 0);
    picture.style.backgroundPosition = `${share(within % layout.across, layout.across)}% ${share(Math.floor(within / layout.across), height)}%`;
    picture.dataset.painted = "";
    sight.unobserve(picture);
  };
  for (let k = 0; k < layout.count; k++) {
    const cell = element("button", { type: "button", class: "viewer-cell" }, element("span", { class: "viewer-thumb" }));
    cell.firstChild.style.aspectRatio = `${columns} / ${rows}`;
    decorate(cell, k);
    cells.push(cell);
    sight.observe(cell.firstChild);
  }
  const made = {
    grid,
    cells,
    resize: (px) => grid.style.setProperty("--cell", `${px}px`),
    sort: (next) => grid.replaceChildren(...next.map((k) => cells[k])),
    repaint: () => cells.forEach((cell, k) => "painted" in cell.firstChild.dataset && paint(k)),
  };
  made.resize(size);
  made.sort(order ?? [...cells.keys()]);
  arrows(grid);
  return made;
}

// Arrow keys move the focus in the grid as it is laid out.
function arrows(grid) {
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow(grid), ArrowDown: perRow(grid), Home: -1e9, End: 1e9 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const cells = [...grid.children];
    const at = cells.indexOf(document.activeElement) + steps[event.key];
    cells[Math.min(Math.max(at, 0), cells.length - 1)]?.focus();
  });
}

function perRow(grid) {
  const cells = [...grid.children];
  const next = cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop);
  return next > 0 ? next : cells.length;
}
