// One slider rules the page: another epoch is the same address elsewhere, fetched ahead and put in place.

/** @type {Map<string, Promise<Document>>} */
const pages = new Map();
let waiting = 0;

/** @param {string} address of a page; its document, fetched once */
function fetchPage(address) {
  if (!pages.has(address)) {
    const page = fetch(address).then(async (answer) => {
      if (!answer.ok) throw new Error(`${answer.status}`);
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      // The pictures come along, so that moving the slider shows them at once.
      for (const image of found.querySelectorAll("#main img, #main image")) {
        const source = image.getAttribute("src") ?? image.getAttribute("href");
        if (source && !source.startsWith("data:")) new Image().src = source;
      }
      return found;
    });
    page.catch(() => pages.delete(address));
    pages.set(address, page);
  }
  return pages.get(address);
}

/** @param {() => void} prepare what makes a new #main work */
export function goToEpochs(prepare) {
  const slider = document.querySelector("[data-epochs]");
  if (!slider) return;
  const epochs = slider.dataset.epochs.split(" ").map(Number);
  const range = slider.querySelector("input[type=range]");
  const typed = slider.querySelector("[data-typed]");
  const play = slider.querySelector("[data-play]");
  let shown = Number(slider.dataset.epoch);
  let timer = 0;
  const query = () => location.search;
  const addressOf = (epoch) => slider.dataset.address.split("?")[0].replaceAll("EPOCH", String(epoch)) + query();

  async function show(epoch) {
    const address = addressOf(epoch);
    const turn = ++waiting;
    let page;
    try {
      page = await fetchPage(address);
    } catch {
      location.href = address;
      return;
    }
    if (turn !== waiting) return;
    const started = performance.now();
    const kept = new Map([...document.querySelectorAll("details")].map((box, place) => [place, box.open]));
    document.getElementById("main").replaceChildren(...page.getElementById("main").cloneNode(true).childNodes);
    [...document.querySelectorAll("details")].forEach((box, place) => (box.open = kept.get(place) ?? box.open));
    document.querySelector(".crumbs").innerHTML = page.querySelector(".crumbs").innerHTML;
    document.querySelector(".switches a")?.replaceWith(page.querySelector(".switches a").cloneNode(true));
    document.title = page.title;
    history.replaceState(null, "", address);
    shown = epoch;
    range.value = String(place(epoch));
    range.setAttribute("aria-valuetext", page.querySelector("[data-epochs] input[type=range]").getAttribute("aria-valuetext"));
    if (document.activeElement !== typed) typed.value = String(epoch);
    moveCursors(epoch);
    prepare();
    document.documentElement.dataset.moved = String(performance.now() - started);
    fetchAhead();
  }

  /** The index of the epoch on the slider that is nearest. */
  function place(epoch) {
    const gaps = epochs.map((known) => Math.abs(known - epoch));
    return gaps.indexOf(Math.min(...gaps));
  }

  function step(by) {
    const next = place(shown) + by;
    if (next >= 0 && next < epochs.length) show(epochs[next]);
  }

  function fetchAhead() {
    const near = [...epochs].sort((a, b) => Math.abs(a - shown) - Math.abs(b - shown)).slice(1, 5);
    const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
    idle(async () => {
      for (const epoch of near) await fetchPage(addressOf(epoch)).catch(() => null);
    });
  }

  range.hidden = false;
  play.hidden = false;
  range.addEventListener("input", () => show(epochs[Number(range.value)]));
  typed.addEventListener("change", () => {
    const wanted = Number(typed.value);
    if (Number.isInteger(wanted) && wanted > 0) show(wanted);
    else typed.value = String(shown);
  });
  for (const link of slider.querySelectorAll("[data-step]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      step(Number(link.dataset.step));
    });
  }
  play.addEventListener("click", () => {
    if (timer) {
      clearInterval(timer);
      timer = 0;
    } else {
      if (place(shown) === epochs.length - 1) show(epochs[0]);
      timer = setInterval(() => (place(shown) === epochs.length - 1 ? play.click() : step(1)), 700);
    }
    play.setAttribute("aria-pressed", String(Boolean(timer)));
  });
  document.addEventListener("step", (event) => step(event.detail));
  moveCursors(shown);
  fetchAhead();
}

/** The line in each chart that says where the slider stands. */
export function moveCursors(epoch) {
  for (const line of document.querySelectorAll(".cursor[data-unit]")) {
    const x = String(Number(line.dataset.left) + epoch * Number(line.dataset.unit));
    line.removeAttribute("hidden");
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
}
