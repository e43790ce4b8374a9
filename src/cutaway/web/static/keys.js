// The keyboard: , . epochs, [ ] layers, arrows in grids, / search, ? help.

/** The tiles of a grid that are shown, in their order. */
const tilesOf = (grid) => [...grid.querySelectorAll("li:not([hidden]) > a")];

/** The tile that an arrow leads to. */
function neighbour(tiles, from, key) {
  const at = tiles.indexOf(from);
  if (key === "ArrowRight") return tiles[at + 1];
  if (key === "ArrowLeft") return tiles[at - 1];
  const here = from.getBoundingClientRect();
  const down = key === "ArrowDown";
  const rows = tiles.filter((tile) => {
    const top = tile.getBoundingClientRect().top;
    return down ? top > here.top + 2 : top < here.top - 2;
  });
  if (!rows.length) return undefined;
  const tops = rows.map((tile) => tile.getBoundingClientRect().top);
  const row = down ? Math.min(...tops) : Math.max(...tops);
  const inRow = rows.filter((tile) => Math.abs(tile.getBoundingClientRect().top - row) < 2);
  const gap = (tile) => Math.abs(tile.getBoundingClientRect().left - here.left);
  return inRow.reduce((best, tile) => (gap(tile) < gap(best) ? tile : best));
}

function moveInGrid(event) {
  const grid = document.activeElement?.closest("[data-grid]") ?? document.querySelector("[data-grid]");
  if (!grid) return;
  const tiles = tilesOf(grid);
  const current = document.activeElement?.closest("[data-grid] a");
  const next = current ? neighbour(tiles, current, event.key) : tiles[0];
  // Without a selected tile the arrows scroll, as everywhere.
  if (!current && !event.key.match(/Left|Right/)) return;
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

const actions = {
  ",": () => document.dispatchEvent(new CustomEvent("step", { detail: -1 })),
  ".": () => document.dispatchEvent(new CustomEvent("step", { detail: 1 })),
  "[": () => document.querySelector("[data-previous]")?.click(),
  "]": () => document.querySelector("[data-next]")?.click(),
  "?": () => document.getElementById("keys").showModal(),
  "/": (event) => {
    const search = document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  },
};

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=checkbox]):not([type=range]):not([type=radio]), textarea, select");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key.startsWith("Arrow") && !event.target.matches("input")) moveInGrid(event);
    actions[event.key]?.(event);
  });
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.open).showModal());
  }
}
