"use strict";
// What the page's controls do. Without WebGL 2 all but the 3D view works.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Photo, fit or difference on either side of a line that can be moved. */
function compare(section) {
  const stage = find(".stage", section);
  const line = find("input[type=range]", section);
  const divide = () => stage.style.setProperty("--line", `${line.value}%`);
  line.addEventListener("input", divide);
  for (const choice of all("input[type=radio]", section))
    choice.addEventListener("change", () => {
      const side = find(choice.dataset.side === "left" ? ".left" : ".right", stage);
      const picture = find(`[data-kind=${choice.value}]`, section);
      side.src = picture.src;
      side.alt = picture.alt;
    });
  divide();
}

/** Pictures open large, and close by Escape, a click or the button. */
function enlarge() {
  const large = find("#large");
  for (const button of all("button.map"))
    button.addEventListener("click", () => {
      const picture = find("img", button);
      find("img", large).src = picture.src;
      find("img", large).alt = picture.alt;
      find("figcaption", large).textContent = picture.alt;
      large.showModal();
    });
  large.addEventListener("click", () => large.close());
}

/** Lights by name, each about as bright as the photo's. */
function lights(photo, kernel) {
  const bands = kernel.length;
  const lamp = (direction, colour) => Harmonics.lamp(direction, colour, kernel);
  const made = {
    photo: Float64Array.from(photo.light.flat()),
    even: Harmonics.even([1, 1, 1], bands),
    studio: Harmonics.sum([
      lamp([-0.8, 0.7, 0.9], [1, 0.97, 0.92]),
      lamp([1, 0.2, 0.8], [0.25, 0.27, 0.3]),
      lamp([0.7, 0.6, -1], [0.6, 0.6, 0.62]),
      Harmonics.even([0.12, 0.12, 0.13], bands),
    ]),
    window: Harmonics.sum([lamp([-1, 0.25, 0.35], [0.86, 0.95, 1]), Harmonics.even([0.16, 0.15, 0.14], bands)]),
    sunset: Harmonics.sum([
      lamp([1, 0.12, 0.3], [1, 0.55, 0.25]),
      lamp([0, 1, 0.1], [0.16, 0.22, 0.4]),
      Harmonics.even([0.16, 0.15, 0.2], bands),
    ]),
    pointer: Harmonics.sum([lamp([0, 0, 1], [1, 0.97, 0.93]), Harmonics.even([0.07, 0.07, 0.08], bands)]),
  };
  const mean = (light) => light[0] + light[1] + light[2];
  for (const name of Object.keys(made)) {
    const factor = mean(made.photo) / mean(made[name]);
    made[name] = made[name].map((value) => value * factor);
  }
  return made;
}

/** R, row by row, so that lookedAt(light, R) is the light turned to the right and raised (radians). */
function turnOf(right, up) {
  const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(up), Math.sin(up)];
  return [c, 0, -s, -t * s, d, -t * c, d * s, t, d * c];
}

const words = (name) => name.replace(/([A-Z])/g, " $1").toLowerCase().replace(/^./, (letter) => letter.toUpperCase());

/** A slider for each coordinate of the expression, by the part of the face that its name begins with. */
function expressionSliders(numbers, changed) {
  const groups = new Map();
  numbers.expressions.forEach((item, number) => {
    const part = item.name.match(/^[a-z]+/)?.[0] ?? "other";
    if (!groups.has(part)) groups.set(part, []);
    groups.get(part).push([item, number]);
  });
  const sliders = [];
  for (const [part, items] of groups) {
    const group = document.createElement("details");
    group.innerHTML = `<summary></summary><div class="sliders"></div>`;
    find("summary", group).textContent = `${words(part)} (${items.length})`;
    for (const [item, number] of items) {
      const label = document.createElement("label");
      label.className = "slider";
      label.innerHTML = `<span></span><input type="range" step="any"><output></output>`;
      find("span", label).textContent = words(item.name);
      const slider = find("input", label);
      Object.assign(slider, { min: item.low, max: item.high, value: item.rest, name: item.name });
      slider.addEventListener("input", () => changed());
      sliders[number] = slider;
      find("div", group).append(label);
    }
    find("#expressions").append(group);
  }
  if (groups.size) find("#expressions details").open = true;
  return sliders;
}

async function show3d() {
  const numbers = JSON.parse(find("#head").textContent);
  const canvas = find("#canvas");
  const images = {};
  for (const image of all("img[data-map]")) {
    const whole = new Image(); // one of the page tells the size at which it is shown
    whole.src = image.src;
    await whole.decode();
    images[image.dataset.map] = whole;
  }
  const arrays = await unpacked(numbers);
  const behind = find("#behind");
  let atPhoto = true;
  let chosen = 0;
  const viewer = new HeadViewer(canvas, numbers, arrays, images, (now, viewer) => {
    atPhoto = now ?? atPhoto;
    find("#home").disabled = atPhoto;
    behind.hidden = !(atPhoto && find("#inPhoto").checked);
    const { left, top, width, height } = viewer.frame();
    Object.assign(behind.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  });
  window.headViewer = viewer; // for who wants more than the controls offer

  // light
  let choices = lights(numbers.photos[0], numbers.positiveKernel);
  const [turn, raise, brightness] = ["#turn", "#raise", "#brightness"].map((name) => find(name));
  let pending;
  const relight = () => {
    pending ??= requestAnimationFrame(() => {
      pending = undefined;
      const name = find("input[name=light]:checked").value;
      const radians = (slider) => (slider.value * Math.PI) / 180;
      const straight = Number(turn.value) === 0 && Number(raise.value) === 0;
      viewer.setLight(
        straight
          ? choices[name]
          : Harmonics.lookedAt(choices[name], viewer.bands, turnOf(radians(turn), radians(raise)), viewer.bands),
      );
      all("output[for]").forEach((told) => { told.value = `${find(`#${told.htmlFor}`).value}${told.dataset.unit}`; });
    });
  };
  for (const choice of all("input[name=light]"))
    choice.addEventListener("change", () => {
      turn.value = raise.value = 0;
      relight();
    });
  for (const slider of [turn, raise]) slider.addEventListener("input", relight);
  brightness.addEventListener("input", () => {
    viewer.setBrightness(Number(brightness.value));
    relight();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (find("input[name=light]:checked").value !== "pointer" || event.buttons) return;
    const box = canvas.getBoundingClientRect();
    turn.value = Math.round(180 * ((event.clientX - box.left) / box.width - 0.5));
    raise.value = Math.round(-140 * ((event.clientY - box.top) / box.height - 0.5));
    relight();
  });

  // surface
  for (const choice of all("input[name=mode]")) choice.addEventListener("change", () => viewer.setMode(choice.value));
  for (const box of all("input[name=map]"))
    box.addEventListener("change", () => viewer.useMap(box.value, box.checked));
  const shadows = find("#shadows");
  if (arrays.transfer) shadows.addEventListener("change", () => viewer.useShadows(shadows.checked));
  else shadows.closest("label").remove();

  // expression
  const sliders = expressionSliders(numbers, () => {
    viewer.setExpression(sliders.map((slider) => Number(slider.value)));
    tell();
  });
  const tell = () => sliders.forEach((slider) => { slider.nextElementSibling.value = Number(slider.value).toFixed(2); });
  const express = (values) => {
    sliders.forEach((slider, number) => { slider.value = values[number]; });
    viewer.setExpression(values);
    tell();
  };
  find("#asInPhoto").addEventListener("click", () => express(numbers.photos[chosen].expression));
  find("#atRest").addEventListener("click", () => express(numbers.expressions.map((item) => item.rest)));
  sliders.forEach((slider, number) => { slider.value = viewer.expression[number]; });
  tell();

  // view
  find("#home").addEventListener("click", () => viewer.showPhotosView());
  find("#inPhoto").addEventListener("change", () => viewer.onView(undefined, viewer));
  const steps = {
    ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1],
    "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1],
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Home" || event.key === "0") viewer.showPhotosView();
    else if (steps[event.key]) viewer.orbit(...steps[event.key]);
    else return;
    event.preventDefault();
  });

  // photos
  const choose = (number) => {
    chosen = number;
    all("[data-photo]").forEach((part) => { part.hidden = Number(part.dataset.photo) !== number; });
    behind.src = find(`[data-photo="${number}"] [data-kind=photo]`).src;
    choices = lights(numbers.photos[number], numbers.positiveKernel);
    viewer.showPhoto(number);
    express(numbers.photos[number].expression);
    relight();
  };
  for (const choice of all("input[name=photo]"))
    choice.addEventListener("change", () => choose(Number(choice.value)));
  choose(0);
  find("#viewer").classList.add("ready");
}

all(".compare").forEach(compare);
enlarge();
if (find("#head"))
  show3d().catch((error) => {
    find("#no3d").textContent = `The 3D view does not start here (${error.message}). It needs a browser with WebGL 2.`;
    find("#viewer").classList.add("failed");
  });
