"""How long the microscope's pages take, in a real server and a real Chromium, against their budgets.

python benchmarks/pages.py RUNS_FOLDER --run fashion-resnet18-1 [--rounds 9]

first page    from a server that has just started to the start page drawn             1 s
cached page   a layer's page asked for again, whole answer                            100 ms
new image     an image nobody has sent, to a layer's page with its feature maps       500 ms
slider        from the key to another epoch drawn                                     100 ms
many          50 clients at once, each asks for pages of the run: errors              0
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

CLIENTS, ASKS = 50, 4


def main() -> None:
    options = arguments()
    server, address = started(options.folder)
    layer = f"{address}/runs/{options.run}/layers/{options.layer}"
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            page = browser.new_page()
            first = timed(lambda: page.goto(address))
            tell("first page", [first], 1000)
            ask(layer)
            tell("cached page", [timed(lambda: ask(layer)) for _ in range(options.rounds)], 100)
            tell("new image", [timed(lambda: with_new_image(address, layer)) for _ in range(options.rounds)], 500)
            tell("slider", slid(page, layer, options.rounds), 100)
            browser.close()
        many(address, options.run, layer)
    finally:
        server.terminate()
        server.wait(20)


def started(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server over the folder, and its address."""
    words = [sys.executable, "-m", "cutaway", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip().rstrip("/")


def ask(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=120) as answer:
        content: bytes = answer.read()
    return content


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def with_new_image(address: str, layer: str) -> None:
    """Upload an image of noise, and follow to the layer's page that shows its maps."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(time.perf_counter_ns()).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    back = layer.removeprefix(address)
    head = (
        f'--X\r\nContent-Disposition: form-data; name="back"\r\n\r\n{back}\r\n--X\r\nContent-Disposition: form-data; '
    )
    body = head.encode() + b'name="file"; filename="a.png"\r\n\r\n' + buffer.getvalue() + b"\r\n--X--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=X"}
    ask_with = urllib.request.Request(f"{address}/upload", body, kind)
    with urllib.request.urlopen(ask_with, timeout=120) as answer:
        assert b"upload:" in answer.read()


def slid(page: Any, layer: str, rounds: int) -> list[float]:
    """Milliseconds from the key to the other epoch drawn, its picture decoded."""
    page.goto(layer)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(4000)  # the neighbours are fetched while nobody does anything
    found = []
    for place in range(rounds):
        found.append(
            page.evaluate(
                """async (key) => {
                    const before = location.href;
                    const start = performance.now();
                    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
                    const late = start + 10000;
                    while (location.href === before && performance.now() < late) {
                        await new Promise(requestAnimationFrame);
                    }
                    await new Promise(requestAnimationFrame);
                    return performance.now() - start;
                }""",
                ",."[place % 2],
            )
        )
        page.wait_for_timeout(300)
    return found


def many(address: str, run: str, layer: str) -> None:
    """50 clients at once."""
    pages = [f"{address}/", f"{address}/runs/{run}", layer, f"{layer}/c1"]

    def client(number: int) -> list[float]:
        return [timed(partial(ask, pages[(number + turn) % len(pages)])) for turn in range(ASKS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        times = [one for found in pool.map(client, range(CLIENTS)) for one in found]  # an error would be raised here
    print(f"many         {CLIENTS} clients, {len(times)} pages: no error, median {statistics.median(times):.0f} ms")


def tell(name: str, times: list[float], budget: float) -> None:
    times = sorted(times)
    within = "within" if statistics.median(times) <= budget else "BEYOND"
    print(
        f"{name:12} median {statistics.median(times):6.1f} ms ({times[0]:.1f} to {times[-1]:.1f}, {len(times)} times), "
        f"{within} {budget:.0f} ms",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--layer", default="layer2.0.conv1")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    return parser.parse_args()


if __name__ == "__main__":
    main()
