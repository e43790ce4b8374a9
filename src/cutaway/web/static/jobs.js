// Long work: its progress on the page, and the page again when it is done.

const EVERY = 700;
const following = new Set();

async function follow(panel) {
  const address = panel.dataset.job;
  if (following.has(address)) return;
  following.add(address);
  const bar = panel.querySelector("progress");
  const told = panel.querySelector("[data-told]");
  for (;;) {
    await new Promise((ready) => setTimeout(ready, EVERY));
    let now;
    try {
      now = await (await fetch(address)).json();
    } catch {
      continue; // the server is being restarted: it will be there again
    }
    const shown = document.querySelector(`[data-job="${address}"]`);
    if (!shown) break;
    const another = "part" in panel.dataset && panel.dataset.part !== now.label;
    if (another || (now.state !== "running" && now.state !== "waiting")) {
      location.reload();
      break;
    }
    if (now.total) {
      bar.max = now.total;
      bar.value = now.done;
      told.textContent = `${now.label} ${now.done} / ${now.total}`;
    }
  }
  following.delete(address);
}

export function watchJobs() {
  for (const panel of document.querySelectorAll("[data-job]")) follow(panel);
}
