// Curves while a run trains. Only what changes is replaced: selections, open parts and the scroll stay.
import { moveCursors } from "./epochs.js";

/** @type {EventSource | null} */
let source = null;

function open(button) {
  source = new EventSource(button.dataset.live);
  source.addEventListener("change", (event) => {
    document.getElementById("live").innerHTML = JSON.parse(event.data);
    const slider = document.querySelector("[data-epochs]");
    if (slider) moveCursors(Number(slider.dataset.epoch));
  });
  source.addEventListener("end", () => {
    close();
    button.hidden = true;
  });
  source.addEventListener("gone", (event) => {
    close();
    document.getElementById("live").textContent = JSON.parse(event.data);
    button.hidden = true;
  });
}

function close() {
  source?.close();
  source = null;
}

export function followRun() {
  const button = document.querySelector("[data-live]");
  close();
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    if (source) close();
    else open(button);
    button.textContent = source ? button.dataset.pause : button.dataset.go;
  });
  open(button);
}
