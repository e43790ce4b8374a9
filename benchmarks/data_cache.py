"""Two promises of the data room, measured: a quick second start, and little memory for a large folder.

    python benchmarks/data_cache.py                        100,000 images of 112x112, a folder of about 700 MB
    python benchmarks/data_cache.py --count 60000 --side 32
    python benchmarks/data_cache.py --folder photos        a folder of your own

Each figure is taken in a process of its own: its time includes the import of torch, its memory is the peak of the
resident set (VmHWM), workers not included.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10


def write_class(folder: Path, label: int, count: int, side: int) -> None:
    """`count` JPEGs, no two alike: one noisy picture, cut at a different place for each."""
    rng = np.random.default_rng(label)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((side * 8, side * 8))
    picture = np.asarray(coarse)
    target = folder / f"{label + 1}-class"
    target.mkdir(parents=True)
    for number in range(count):
        top, left = rng.integers(0, side * 7, 2)
        pixels = picture[top : top + side, left : left + side].copy()
        pixels[0, :3] = np.frombuffer(number.to_bytes(9, "little"), np.uint8).reshape(3, 3)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        (target / f"{number}.jpg").write_bytes(buffer.getvalue())


def make(folder: Path, count: int, side: int) -> None:
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(write_class, folder, label, count // CLASSES, side) for label in range(CLASSES)]
        for job in jobs:
            job.result()


def peak() -> float:
    """The largest resident set of this process so far, in GB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def load_once(folder: str) -> None:
    """In a process of its own: load, then go through one epoch in random order."""
    start = time.perf_counter()
    from cutaway.data import load_data, sample_order

    imported = time.perf_counter()
    data = load_data(folder)
    loaded = time.perf_counter()
    train = data.splits["train"]
    images = sum(len(batch.ids) for batch in train.batches(sample_order(len(train), 0, 1), 128))
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "images": sum(len(split) for split in data.splits.values()),
                "shape": data.shape,
                "import_seconds": round(imported - start, 2),
                "load_seconds": round(loaded - imported, 2),
                "images_per_second": round(images / (ended - loaded)),
                "peak_gb": round(peak(), 2),
            }
        )
    )


def measure(folder: Path, cache: Path, label: str) -> None:
    environment = {**os.environ, "CUTAWAY_CACHE": str(cache)}
    start = time.perf_counter()
    command = [sys.executable, __file__, "--once", str(folder)]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    print(f"{label}: {result.stdout.strip()} wall {time.perf_counter() - start:.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        load_once(options.once)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place) / "images"
        if not options.folder:
            make(folder, options.count, options.side)
        measure(folder, Path(place) / "cache", "first start ")
        measure(folder, Path(place) / "cache", "second start")
        measure(folder, Path(place) / "cache", "third start ")


if __name__ == "__main__":
    main()
