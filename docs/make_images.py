"""The pictures of the README, from a run: `python docs/make_images.py RUN FOLDER [IMAGE]`.

IMAGE is an image file or, by default, `test:0`. The page is photographed with Chromium, which must be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from cutaway.lenses.weights import conv_names
from cutaway.pictures import network_figure
from cutaway.report import write_page
from cutaway.runs import open_run
from cutaway.scope import Scope

CHANNELS, LAYERS = 10, 13
PAGE_SIZE = (1200, 1500)
MOST_BYTES = 150_000


def make_maps(run: str, image: str, target: Path) -> None:
    """What ten channels of a convolution answer to one image; at most 13 of the main path, evenly chosen."""
    scope = Scope(run)
    names = [name for name in conv_names(scope.network) if "downsample" not in name]
    chosen = [names[place] for place in sorted({round(x) for x in np.linspace(0, len(names) - 1, LAYERS)})]
    maps = scope.feature_maps(image, chosen).maps
    # Under a narrow column there is no room for the word that all names begin with.
    rows = [(name.removeprefix("layer"), maps[name][0].float().cpu().numpy()) for name in chosen]
    network_figure(rows, count=CHANNELS, seed=0, title=f"{open_run(run).name}, {image}").save(target)


def make_page(run: str, target: Path) -> None:
    """The upper part of the run's page, as a browser shows it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("the page is photographed with Chromium, which is not installed")
    page = write_page(run).resolve().as_uri()
    # Chromium refuses to work for root inside its sandbox.
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "page.png"
        size = f"--window-size={PAGE_SIZE[0]},{PAGE_SIZE[1]}"
        options = ["--headless", "--hide-scrollbars", "--disable-gpu", size, f"--screenshot={place}"]
        subprocess.run([browser, *options, *rights, page], check=True, capture_output=True, timeout=120)
        shutil.move(place, target)


def make_small(path: Path, most: int = MOST_BYTES) -> None:
    """Save `path` again with as many colours as fit into `most` bytes."""
    image = Image.open(path).convert("RGB")
    for colours in (256, 128, 64, 32):
        # Without refinement, colours of few pixels are lost: all that is blue in a map that is nearly all red.
        image.quantize(colours, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= most:
            return
    raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, more than {most:,}")


def main(run: str, folder: str, image: str = "test:0") -> None:
    """Make all pictures in `folder`."""
    place = Path(folder)
    make_maps(run, image, place / "maps.png")
    make_page(run, place / "page.png")
    for path in (place / "maps.png", place / "page.png"):
        make_small(path)
        print(path, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
