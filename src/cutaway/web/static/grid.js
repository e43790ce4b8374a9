// A grid of tiles: search by name; the words above it stay what they were when another epoch comes.
let sought = "";

function show(search) {
  sought = search.value.trim();
  const wanted = sought.split(/[\s,]+/).filter(Boolean);
  let count = 0;
  for (const tile of document.querySelectorAll("[data-grid] > li")) {
    tile.hidden = wanted.length > 0 && !wanted.some((word) => tile.dataset.name === word || (Number.isNaN(Number(word)) && tile.dataset.name.includes(word)));
    if (!tile.hidden) count += 1;
  }
  const told = document.querySelector("[data-found]");
  if (told) told.textContent = wanted.length ? String(count) : "";
}

export function arrangeGrids() {
  const search = document.querySelector("input[type=search][data-filter]");
  if (!search) return;
  if (sought) search.value = sought;
  search.addEventListener("input", () => show(search));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      document.querySelector("[data-grid] > li:not([hidden]) > a")?.focus();
    }
  });
  if (search.value) show(search);
}
