// Steps through the epochs of a run. Without it the page shows the last epoch.
const film = JSON.parse(document.getElementById("frames").textContent);
const byId = (id) => document.getElementById(id);
const state = { place: film ? film.epochs.length - 1 : 0, probe: 0 };

/** Show the pictures of the chosen epoch and image everywhere. */
function draw() {
  const epoch = film.epochs[state.place];
  for (const image of document.querySelectorAll("[data-strip]")) {
    const frames = film.strips[Number(image.dataset.strip)][epoch];
    image.src = "data:image/png;base64," + frames[Math.min(state.probe, frames.length - 1)];
  }
  for (const line of document.querySelectorAll(".cursor")) {
    line.removeAttribute("hidden");
    const x = Number(line.dataset.left) + epoch * Number(line.dataset.unit);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
  byId("shown").textContent = epoch;
  byId("line").textContent = film.lines[epoch] ?? "";
  byId("slider").value = state.place;
  if (document.activeElement !== byId("typed")) byId("typed").value = epoch;
  history.replaceState(null, "", `#epoch=${epoch}&image=${state.probe}`);
}

/** @param {number} place index into the epochs; values beyond the ends stay at the ends */
function go(place) {
  state.place = Math.max(0, Math.min(film.epochs.length - 1, place));
  draw();
}

/** @param {number} epoch the wanted epoch; the nearest one there is gets shown */
function goToEpoch(epoch) {
  const distances = film.epochs.map((known) => Math.abs(known - epoch));
  go(distances.indexOf(Math.min(...distances)));
}

/** Read `#epoch=7&image=2`, so that every state is an address. */
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const chosen = document.querySelector(`[name=probe][value="${Number(wanted.get("image") ?? 0)}"]`);
  if (chosen) {
    chosen.checked = true;
    state.probe = Number(chosen.value);
  }
  if (wanted.has("epoch")) goToEpoch(Number(wanted.get("epoch")));
  else draw();
}

function listen() {
  document.querySelector(".turn").hidden = film.epochs.length < 2;
  byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("back").addEventListener("click", () => go(state.place - 1));
  byId("on").addEventListener("click", () => go(state.place + 1));
  byId("typed").addEventListener("change", (event) => {
    const epoch = Number(event.target.value);
    if (Number.isFinite(epoch) && event.target.value.trim()) goToEpoch(epoch);
    event.target.value = film.epochs[state.place];
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=text]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === ",") go(state.place - 1);
    if (event.key === ".") go(state.place + 1);
  });
  for (const input of document.querySelectorAll("[name=probe]")) {
    input.addEventListener("change", () => {
      state.probe = Number(input.value);
      draw();
    });
  }
  window.addEventListener("hashchange", readAddress);
}

if (film) {
  listen();
  readAddress();
}
