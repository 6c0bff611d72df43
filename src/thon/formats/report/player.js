(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("frames-data").textContent);
  const [image, tilt, slider, button] = ["frame", "frame-tilt", "frame-slider", "frame-play"].map((id) => document.getElementById(id));
  const interval = 90;
  let timer = null;
  let step = 1;

  const show = (index) => {
    image.src = data.frames[index];
    image.alt = "Aligned image at " + data.tilts[index];
    tilt.textContent = data.tilts[index];
    slider.value = index;
    slider.setAttribute("aria-valuetext", data.tilts[index]);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const advance = () => {
    const last = data.frames.length - 1;
    const now = Number(slider.value);
    if (now + step > last || now + step < 0) step = -step;
    show(Math.min(last, Math.max(0, now + step)));
  };
  const play = () => {
    timer = setInterval(advance, interval);
    button.textContent = "Pause";
  };
  button.addEventListener("click", () => (timer === null ? play() : stop()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
})();
