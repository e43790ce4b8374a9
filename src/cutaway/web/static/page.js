// The entry of every page: keys, theme, and the parts that a page may have. Without it, links do the work.
import { goToEpochs } from "./epochs.js";
import { arrangeGrids } from "./grid.js";
import { listenToKeys } from "./keys.js";
import { followRun } from "./live.js";
import { watchJobs } from "./jobs.js";
import { acceptImages } from "./upload.js";

/** Make what stands inside #main work; called again whenever it was replaced. */
function prepare() {
  arrangeGrids();
  followRun();
  watchJobs();
  acceptImages();
  for (const box of document.querySelectorAll("select[data-submit], input[data-submit]")) {
    box.addEventListener("change", () => box.form.requestSubmit());
  }
}

document.querySelector("[data-theme-switch]").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // Storage may be forbidden: then the choice holds for this page.
  }
});

listenToKeys();
goToEpochs(prepare);
prepare();
document.documentElement.dataset.ready = "1";
