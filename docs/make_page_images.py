"""Make the screenshots of the README and of `microscope.md` from runs of one's own.

    python docs/make_page_images.py RUNS_FOLDER --run cifar-vgg16-1 --layer features.14 --unit 5 [--image test:412]

The run needs an atlas of the layer (`cutaway atlas`), a measured test split and every method on the image, all of which
its pages can make. Written to `docs/images/microscope/`, in 256 colours.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parent / "images" / "microscope"
SIZE = {"width": 1280, "height": 820}


def main() -> None:
    """Start a server, take a picture of each page, and stop it."""
    options = arguments()
    words = [sys.executable, "-m", "cutaway", "serve", str(options.folder), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip().rstrip("/")
    run = f"{address}/runs/{options.run}"
    layer = f"{run}/layers/{options.layer}"
    shots = {
        "runs": (f"{address}/", "en", "light"),
        "run": (run, "en", "light"),
        "layer": (f"{layer}?image={options.image}", "en", "dark"),
        "unit": (f"{layer}/c{options.unit}?image={options.image}", "en", "light"),
        "unit-zh": (f"{layer}/c{options.unit}?image={options.image}", "zh", "dark"),
        "images": (f"{run}/images", "en", "light"),
        "image": (f"{run}/images/{options.image}", "en", "light"),
        "walk": (f"{run}/walk?image={options.image}", "en", "light"),
        "comparison": (f"{address}/compare?run={options.run}&image={options.image}", "en", "light"),
    }
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            for name, (page_address, language, colours) in shots.items():
                context = browser.new_context(locale=language, color_scheme=colours, viewport=SIZE)
                page = context.new_page()
                page.goto(page_address)
                page.wait_for_selector("html[data-ready]")
                page.wait_for_timeout(500)
                write(page.screenshot(), TARGET / f"{name}.png")
                context.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def write(png: bytes, path: Path) -> None:
    """Keep a screenshot in 256 colours."""
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size)


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--unit", type=int, default=0)
    parser.add_argument("--image", default="test:0")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    return parser.parse_args()


if __name__ == "__main__":
    main()
