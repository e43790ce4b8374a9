// The frozen report: steps through the epochs of the run, and opens the other pages by their hash address.
// One classic script, because a browser loads no module from a disk.
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const film = read("frames");
  const pictures = read("pictures");
  const book = read("book");
  const epochs = document.querySelector(".epochs");
  const state = { place: film ? film.epochs.length - 1 : 0, probe: 0, page: "", player: 0 };
  const run = { title: document.title, name: document.querySelector(".crumbs ol").textContent.trim() };
  let pages = {};

  /** Show the pictures of the chosen epoch and image everywhere. */
  function drawFilm() {
    if (!film) return;
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
    if (!epochs) return;
    const slider = epochs.querySelector("[type=range]");
    const typed = epochs.querySelector("[data-typed]");
    slider.value = state.place;
    slider.setAttribute("aria-valuetext", `${epoch}: ${film.lines[epoch] ?? ""}`);
    byId("line").textContent = film.lines[epoch] ?? "";
    if (document.activeElement !== typed) typed.value = epoch;
  }

  /** @param {number} place index into the epochs; values beyond the ends stay at the ends */
  function go(place) {
    state.place = Math.max(0, Math.min(film.epochs.length - 1, place));
    drawFilm();
    history.replaceState(null, "", `#?epoch=${film.epochs[state.place]}&image=${state.probe}`);
  }

  /** @param {number} epoch the wanted epoch; the nearest one there is gets shown */
  function goToEpoch(epoch) {
    const distances = film.epochs.map((known) => Math.abs(known - epoch));
    go(distances.indexOf(Math.min(...distances)));
  }

  function play(button) {
    if (state.player) {
      clearInterval(state.player);
      state.player = 0;
    } else {
      if (state.place === film.epochs.length - 1) state.place = -1;
      state.player = setInterval(() => {
        go(state.place + 1);
        if (state.place === film.epochs.length - 1) play(button);
      }, 500);
    }
    button.textContent = state.player ? byId("line").dataset.pause : button.dataset.label;
  }

  /** Show what the address says: `#?epoch=7&image=2` is the run, `#layers/conv1/c37` a page of the book. */
  function open() {
    const [path, query] = location.hash.slice(1).split("?");
    const page = pages[path];
    const target = path && !page && byId(path);
    if (target && !byId("page").contains(target)) {
      showPage("");
      target.scrollIntoView();
      return;
    }
    showPage(page ? path : "");
    if (!page && film) readState(new URLSearchParams(query ?? ""));
  }

  function readState(wanted) {
    const chosen = document.querySelector(`[name=probe][value="${Number(wanted.get("image") ?? state.probe)}"]`);
    if (chosen) {
      chosen.checked = true;
      state.probe = Number(chosen.value);
    }
    if (wanted.has("epoch")) goToEpoch(Number(wanted.get("epoch")));
    else drawFilm();
  }

  function showPage(path) {
    const changed = state.page !== path;
    state.page = path;
    byId("home").hidden = path !== "";
    byId("page").hidden = path === "";
    if (epochs) epochs.hidden = path !== "";
    for (const link of document.querySelectorAll(".tabs a")) {
      const own = link.getAttribute("href").slice(1);
      const here = own === "" ? path === "" : path === own || path.startsWith(own.split("/")[0] + "/");
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!changed) return;
    byId("page").innerHTML = path ? pages[path].html : "";
    fill(byId("page"));
    crumbs(path ? pages[path].crumbs : []);
    document.title = [...(path ? [pages[path].title] : []), run.title].join(" · ");
    window.scrollTo(0, 0);
  }

  /** Pictures are kept once for all pages; each place that shows one has its number. */
  function fill(root) {
    for (const name of ["src", "href"]) {
      for (const element of root.querySelectorAll(`[data-${name}]`)) {
        element.setAttribute(name, "data:image/" + pictures[Number(element.dataset[name])]);
      }
    }
  }

  /** @param {[string, string][]} steps text and address of each step behind the run */
  function crumbs(steps) {
    const list = document.querySelector(".crumbs ol");
    const home = list.firstElementChild;
    home.innerHTML = "";
    home.append(step(run.name, steps.length ? "#" : ""));
    list.replaceChildren(home);
    for (const [text, address] of steps) {
      const item = document.createElement("li");
      item.append(step(text, address));
      list.append(item);
    }
  }

  function step(text, address) {
    const element = document.createElement(address ? "a" : "span");
    element.textContent = text;
    if (address) element.setAttribute("href", address);
    else element.setAttribute("aria-current", "page");
    return element;
  }

  /** Move the focus among the links of a grid, by where they stand. */
  function walk(link, key) {
    const links = [...link.closest("[data-grid]").querySelectorAll("a")].filter((other) => other.offsetParent);
    const place = links.indexOf(link);
    if (key === "ArrowLeft" || key === "ArrowRight") return links[place + (key === "ArrowRight" ? 1 : -1)]?.focus();
    const here = link.getBoundingClientRect();
    const down = key === "ArrowDown";
    const beyond = links
      .map((other) => ({ other, box: other.getBoundingClientRect() }))
      .filter(({ box }) => (down ? box.top > here.top + 4 : box.top < here.top - 4))
      .map(({ other, box }) => ({ other, off: Math.abs(box.top - here.top) * 4 + Math.abs(box.left - here.left) }));
    beyond.sort((one, two) => one.off - two.off);
    beyond[0]?.other.focus();
  }

  /** Keep the tiles whose name holds what is typed, in the order that is chosen. */
  function arrange(tools) {
    const query = tools.querySelector("[type=search]").value.trim().toLowerCase();
    const order = tools.querySelector("select")?.value;
    for (const grid of byId("page").querySelectorAll("[data-grid]")) {
      const items = [...grid.children];
      for (const item of items) item.hidden = query !== "" && !item.dataset.name.toLowerCase().includes(query);
      if (!order) continue;
      items.sort((one, two) => Number(two.dataset[order]) - Number(one.dataset[order]) || one.dataset.place - two.dataset.place);
      grid.append(...items);
    }
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input[type=text], input[type=search], select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key.startsWith("Arrow") && event.target.closest("[data-grid]")) {
      event.preventDefault();
      walk(event.target, event.key);
    } else if ((event.key === "," || event.key === ".") && film && state.page === "") {
      go(state.place + (event.key === "." ? 1 : -1));
    } else if (event.key === "[" || event.key === "]") {
      document.querySelector(`#page a[rel=${event.key === "]" ? "next" : "prev"}]`)?.click();
    } else if (event.key === "/") {
      const search = document.querySelector("#page [type=search]");
      if (search) event.preventDefault();
      search?.focus();
    } else if (event.key === "?") {
      byId("keys").showModal();
    }
  }

  function switchTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // A browser may forbid storage to files: then the theme holds for this visit.
    }
  }

  function listenToEpochs() {
    const slider = epochs.querySelector("[type=range]");
    const button = epochs.querySelector("[data-play]");
    slider.hidden = button.hidden = film.epochs.length < 2;
    button.dataset.label = button.textContent;
    slider.addEventListener("input", () => go(Number(slider.value)));
    button.addEventListener("click", () => play(button));
    for (const link of epochs.querySelectorAll("[data-step]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        go(state.place + Number(link.dataset.step));
      });
    }
    epochs.querySelector("[data-typed]").addEventListener("change", (event) => {
      const epoch = Number(event.target.value);
      if (Number.isFinite(epoch) && event.target.value.trim()) goToEpoch(epoch);
      event.target.value = film.epochs[state.place];
    });
  }

  async function unpack() {
    if (!book) return {};
    const packed = Uint8Array.from(atob(book), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  async function start() {
    if (film && epochs) listenToEpochs();
    for (const input of document.querySelectorAll("[name=probe]")) {
      input.addEventListener("change", () => {
        state.probe = Number(input.value);
        go(state.place);
      });
    }
    document.addEventListener("keydown", onKey);
    document.querySelector("[data-open=keys]").addEventListener("click", () => byId("keys").showModal());
    document.querySelector("[data-theme-switch]").addEventListener("click", switchTheme);
    for (const name of ["input", "change"]) {
      byId("page").addEventListener(name, (event) => {
        const tools = event.target.closest("[data-tools]");
        if (tools) arrange(tools);
      });
    }
    pages = await unpack();
    document.body.dataset.ready = "";
    window.addEventListener("hashchange", open);
    open();
  }

  start();
})();
