"""What decoding takes: the memory of each format against what the decoder reckons with, and how fast it is.

    python benchmarks/decoding.py memory                # bytes a pixel that Pillow takes to decode, format by format
    python benchmarks/decoding.py speed FOLDER --size 32    # files a second, one core

Each row of `memory` is a process of its own: the most memory it had while decoding, less what it had before.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 6000, 4000
ROWS: list[tuple[str, str, str, dict[str, Any]]] = [
    # a name, the format, the mode, options of saving
    ("JPEG", "JPEG", "RGB", {}),
    ("JPEG grey", "JPEG", "L", {}),
    ("JPEG CMYK", "JPEG", "CMYK", {}),
    ("JPEG progressive", "JPEG", "RGB", {"progressive": True}),
    ("JPEG progressive 4:4:4", "JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("JPEG progressive grey", "JPEG", "L", {"progressive": True}),
    *((f"PNG {mode}", "PNG", mode, {}) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
    *((f"WebP {mode}", "WEBP", mode, {"method": 0}) for mode in ("RGB", "RGBA")),
    *((f"WebP lossless {mode}", "WEBP", mode, {"method": 0, "lossless": True}) for mode in ("RGB", "RGBA")),
    ("AVIF", "AVIF", "RGB", {"speed": 10}),
    ("AVIF 4:4:4", "AVIF", "RGB", {"speed": 10, "subsampling": "4:4:4"}),
    ("AVIF alpha", "AVIF", "RGBA", {"speed": 10}),
    *((f"JPEG2000 {mode}", "JPEG2000", mode, {}) for mode in ("L", "RGB", "RGBA")),
    ("JPEG2000 tiles", "JPEG2000", "RGB", {"tile_size": (512, 512)}),
    *((f"TIFF {mode}", "TIFF", mode, {}) for mode in ("L", "RGB", "CMYK", "F", "I;16")),
    *(
        (f"TIFF {kind} RGB", "TIFF", "RGB", {"compression": kind})
        for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")
    ),
    ("TIFF one strip", "TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 2**30}),
    ("TIFF turned", "TIFF", "RGB", {"exif": 6}),
    ("BMP", "BMP", "RGB", {}),
    ("GIF", "GIF", "P", {}),
    ("PPM", "PPM", "RGB", {}),
    ("PCX", "PCX", "RGB", {}),
    ("SGI", "SGI", "RGB", {}),
    ("QOI", "QOI", "RGB", {}),
]


def picture(mode: str) -> Image.Image:
    """Something between a photograph and noise, so that no decoder has it too easy."""
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    tile = np.random.default_rng(0).integers(0, 40, (500, 500), dtype=np.uint8)
    grey = (np.tile(tile, (HEIGHT // 500, WIDTH // 500)) + (x // 60 + y // 40).astype(np.uint8)).astype(np.uint8)
    image = Image.fromarray(grey)
    if mode in ("F", "I"):
        return Image.fromarray(grey.astype(np.float32 if mode == "F" else np.int32))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode in ("LA", "RGBA"):
        image = image.convert("L" if mode == "LA" else "RGB")
        image.putalpha(Image.fromarray(grey))
        return image
    return image.convert(mode)


def memory() -> None:
    """One row a format."""
    print(f"{WIDTH}x{HEIGHT} pixels; bytes a pixel beyond the file itself")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind, mode, options in ROWS:
            if "exif" in options:
                exif = Image.Exif()
                exif[0x0112] = options["exif"]
                options = {"exif": exif}
            path = Path(folder) / "image"
            with path.open("wb") as file:
                picture(mode).save(file, kind, **options)
            told = subprocess.run([sys.executable, __file__, "one", str(path)], text=True, capture_output=True)
            print(f"  {name:24} {told.stdout.strip() or told.stderr.strip().splitlines()[-1]}", flush=True)


def one(path: Path) -> None:
    """Decode one file, and say what it took and what was reckoned with."""
    content = path.read_bytes()
    pixels = WIDTH * HEIGHT
    # Everything is imported and every codec has run before anything is measured.
    from cutaway.data import cost

    with Image.open(io.BytesIO(content)) as image:
        reckoned = cost.needed(image, content)
        before = most_memory()
        image.load()
    took = most_memory() - before
    print(f"took {took / pixels:5.1f}   reckoned {reckoned / pixels:5.1f}{'' if took <= reckoned else '   TOO LITTLE'}")


def most_memory() -> int:
    """The most bytes that this process ever had (of Linux's figures the one that is not inherited)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def speed(folder: Path, size: int, most: int, rounds: int) -> None:
    """Files a second, the median of some rounds."""
    from cutaway.data import Undecodable, decode

    files = sorted(path for path in folder.rglob("*") if path.is_file())[:most]
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for file in files:
            try:
                decode(file, size=size or None)
            except Undecodable as error:
                print(file, error)
        found.append(time.perf_counter() - start)
    middle = statistics.median(found)
    print(f"{len(files)} files, size {size or 'as it is'}: {middle:.3f} s, {len(files) / middle:.1f} a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "speed", "one"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--most", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.what == "memory":
        memory()
    elif arguments.what == "one":
        one(arguments.path)
    else:
        speed(arguments.path, arguments.size, arguments.most, arguments.rounds)


if __name__ == "__main__":
    main()
