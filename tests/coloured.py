"""Images that a small network tells apart within a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, classes: dict[str, tuple[int, int, int]], each: int, seed: int = 0) -> None:
    """Noisy 12x12 images whose mean colour tells their class."""
    generator = np.random.default_rng(seed)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = generator.normal(colour, 60, (12, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
