// Moves and zooms the graph of jobs, and shows what is tied to the card under the pointer.

const LEAST = 0.2;
const MOST = 2.5;

const graph = () => document.getElementById("graph");
let zoom = Number(new URLSearchParams(location.search).get("zoom")) || fitting();

// As large as the text of the page; a graph that is wider than the window smaller, but never so that it cannot be read.
function fitting() {
  const usual = parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;
  const svg = graph()?.querySelector("svg");
  return svg ? usual * Math.min(1, Math.max(0.8, graph().clientWidth / Number(svg.dataset.width) / usual)) : usual;
}

function draw() {
  const svg = graph()?.querySelector("svg");
  if (!svg) return;
  svg.style.width = `${svg.dataset.width * zoom}px`;
  svg.style.height = `${svg.dataset.height * zoom}px`;
  svg.style.margin = Number(svg.dataset.width) * zoom < graph().clientWidth ? "0 auto" : "0";
}

function scale(factor, x, y) {
  const box = graph();
  const before = zoom;
  zoom = Math.min(Math.max(zoom * factor, LEAST), MOST);
  const grown = zoom / before;
  draw();
  box.scrollLeft = (box.scrollLeft + x) * grown - x;
  box.scrollTop = (box.scrollTop + y) * grown - y;
  const url = new URL(location);
  url.searchParams.set("zoom", zoom.toFixed(2));
  history.replaceState(null, "", url);
}

document.addEventListener(
  "wheel",
  (event) => {
    if (!(event.ctrlKey || event.metaKey) || !event.target.closest("#graph")) return;
    event.preventDefault();
    const at = graph().getBoundingClientRect();
    scale(Math.exp(-event.deltaY / 400), event.clientX - at.left, event.clientY - at.top);
  },
  { passive: false },
);

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  const box = graph();
  if (button.dataset.zoom === "1") scale(fitting() / zoom, 0, 0);
  else scale(Number(button.dataset.zoom), box.clientWidth / 2, box.clientHeight / 2);
});

document.addEventListener("pointerdown", (event) => {
  const box = event.target.closest("#graph");
  if (!box || event.button !== 0 || event.target.closest("a, button")) return;
  const from = [event.clientX + box.scrollLeft, event.clientY + box.scrollTop];
  box.classList.add("moved");
  const move = (now) => box.scrollTo(from[0] - now.clientX, from[1] - now.clientY);
  const end = () => {
    box.classList.remove("moved");
    removeEventListener("pointermove", move);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
});

function near(job, on) {
  for (const edge of document.querySelectorAll(`.edge[data-from="${job}"], .edge[data-to="${job}"]`)) {
    edge.classList.toggle("near", on);
  }
}

for (const [kind, on] of [["mouseover", true], ["mouseout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(kind, (event) => {
    const card = event.target.closest(".card");
    if (card) near(card.dataset.job, on);
  });
}

document.addEventListener("refreshed", draw);
addEventListener("resize", draw);
draw();
// The newest jobs are at the bottom.
if (graph()) graph().scrollTop = graph().scrollHeight;
