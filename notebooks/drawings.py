"""Small sets of images that the notebooks draw for themselves, so that they run anywhere within seconds.

They stand in for the real thing: `garments` for Fashion-MNIST, `faces` for photographs that somebody collected.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Random = np.random.Generator
_FINE = 4  # drawn so many times as large, then made smaller: smooth edges

PEOPLE = ("李雷", "韩梅梅", "王芳", "张伟", "Ada", "Grace", "Emmy", "Alan", "Edith", "Kurt")


def garments(folder: str | Path, count: int = 60, size: int = 28, seed: int = 0) -> Path:
    """`count` grey drawings of each of six garments in a folder of class folders; the folder."""
    random = np.random.default_rng(seed)
    for name, outline in GARMENTS.items():
        place = _made(Path(folder) / name)
        for index in range(count):
            _garment(outline, size, random).save(place / f"{index:03}.png")
    return Path(folder)


def faces(folder: str | Path, count: int = 24, size: int = 32, seed: int = 0) -> Path:
    """`count` drawings of each of ten people in folders `1-李雷` to `10-Kurt`, with three files as the web has them.

    One file of the first person breaks off in the middle, one of the second has a fourth channel, one of the third is
    grey.
    """
    random = np.random.default_rng(seed)
    for number, name in enumerate(PEOPLE, start=1):
        place = _made(Path(folder) / f"{number}-{name}")
        looks = np.random.default_rng(number).random(8)
        for index in range(count):
            _face(looks, size, random).save(place / f"{index:03}.png")
    first, second, third = (Path(folder) / f"{number}-{PEOPLE[number - 1]}" / "000.png" for number in (1, 2, 3))
    first.write_bytes(first.read_bytes()[:300])
    Image.open(second).convert("RGBA").save(second)
    Image.open(third).convert("L").save(third)
    return Path(folder)


def _made(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def _garment(outline: Callable[[Random], list[tuple[float, float]]], size: int, random: Random) -> Image.Image:
    side = size * _FINE
    canvas = Image.new("L", (side, side), 0)
    shade = int(random.integers(110, 240))
    wobble = random.normal(0, 0.012, (64, 2))
    grow, across = random.uniform(0.9, 1.05), random.normal(0, 0.02)
    points = [
        ((0.5 + (x - 0.5) * grow + across + dx) * side, (0.5 + (y - 0.5) * grow + dy) * side)
        for (x, y), (dx, dy) in zip(outline(random), wobble, strict=False)
    ]
    ImageDraw.Draw(canvas).polygon(points, fill=shade)
    pixels = np.asarray(canvas.resize((size, size), Image.Resampling.LANCZOS)).astype(np.float32)
    stripes = 1 + random.uniform(0, 0.25) * np.sin(np.arange(size) * random.uniform(0.5, 2.5))[:, None]
    return Image.fromarray(np.clip(pixels * stripes + random.normal(0, 6, (size, size)), 0, 255).astype(np.uint8))


def _shirt(random: Random) -> list[tuple[float, float]]:
    sleeve = random.uniform(0.32, 0.42)
    left = [(0.38, 0.12), (0.2, 0.18), (0.06, sleeve), (0.18, sleeve + 0.06), (0.28, 0.34), (0.28, 0.88)]
    return left + [(1 - x, y) for x, y in reversed(left)]


def _trousers(random: Random) -> list[tuple[float, float]]:
    split = random.uniform(0.3, 0.4)
    return [(0.32, 0.06), (0.68, 0.06), (0.7, 0.94), (0.56, 0.94), (0.5, split), (0.44, 0.94), (0.3, 0.94)]


def _dress(random: Random) -> list[tuple[float, float]]:
    hem = random.uniform(0.16, 0.26)
    left = [(0.44, 0.06), (0.36, 0.08), (0.4, 0.4), (hem, 0.94)]
    return left + [(1 - x, y) for x, y in reversed(left)]


def _bag(random: Random) -> list[tuple[float, float]]:
    top = random.uniform(0.38, 0.46)
    handle = [(0.3, top), (0.36, 0.2), (0.64, 0.2), (0.7, top), (0.64, top), (0.6, 0.27), (0.4, 0.27), (0.36, top)]
    return [(0.08, top), *handle, (0.92, top), (0.94, 0.84), (0.06, 0.84)]


def _sneaker(random: Random) -> list[tuple[float, float]]:
    tongue = random.uniform(0.44, 0.5)
    return [(0.05, 0.56), (0.2, 0.62), (0.42, tongue), (0.55, 0.58), (0.9, 0.66), (0.96, 0.76), (0.05, 0.76)]


def _boot(random: Random) -> list[tuple[float, float]]:
    shaft = random.uniform(0.1, 0.2)
    return [(0.16, shaft), (0.5, shaft), (0.52, 0.56), (0.9, 0.7), (0.95, 0.86), (0.3, 0.86), (0.28, 0.8), (0.14, 0.86)]


GARMENTS: dict[str, Callable[[Random], list[tuple[float, float]]]] = {
    "T-shirt": _shirt,
    "Trouser": _trousers,
    "Dress": _dress,
    "Bag": _bag,
    "Sneaker": _sneaker,
    "Ankle boot": _boot,
}


def _face(looks: np.ndarray, size: int, random: Random) -> Image.Image:
    """One picture of a person, whose eight `looks` in 0..1 stay the same while light, place and background change."""
    side = size * _FINE
    light = random.uniform(0.75, 1.1)
    background = tuple(int(value) for value in random.integers(40, 200, 3))
    canvas = Image.new("RGB", (side, side), background)
    draw = ImageDraw.Draw(canvas)
    middle, eyes = side * (0.5 + random.normal(0, 0.03)), side * (0.45 + random.normal(0, 0.02))
    wide, high = side * (0.24 + 0.1 * looks[0]), side * 0.36
    skin = tuple(int(value * light) for value in (150 + 90 * looks[1], 100 + 90 * looks[1], 80 + 80 * looks[1]))
    hair = tuple(
        int(value * light) for value in (30 + 190 * looks[2], 25 + 130 * looks[2] * looks[3], 20 + 60 * looks[3])
    )
    fringe = side * (0.1 + 0.12 * looks[4])
    top = eyes - high
    draw.ellipse(
        (middle - wide * 1.2, top - side * 0.06, middle + wide * 1.2, eyes + high * (0.3 + looks[5])), fill=hair
    )
    draw.ellipse((middle - wide, top + fringe * 0.5, middle + wide, eyes + high), fill=skin)
    draw.rectangle((middle - wide * 0.9, top, middle + wide * 0.9, top + fringe), fill=hair)
    apart, radius = wide * (0.35 + 0.25 * looks[6]), side * 0.035
    for eye in (middle - apart, middle + apart):
        draw.ellipse((eye - radius, eyes - radius, eye + radius, eyes + radius), fill=(20, 20, 20))
        if looks[7] > 0.5:
            ring = (eye - 2.4 * radius, eyes - 2.4 * radius, eye + 2.4 * radius, eyes + 2.4 * radius)
            draw.ellipse(ring, outline=(10, 10, 10), width=max(2, side // 50))
    mouth = wide * random.uniform(0.3, 0.5)
    draw.line(
        (middle - mouth, eyes + high * 0.6, middle + mouth, eyes + high * 0.6), fill=(140, 40, 40), width=side // 32
    )
    small = canvas.filter(ImageFilter.GaussianBlur(1)).resize((size, size), Image.Resampling.LANCZOS)
    grain = random.normal(0, 4, (size, size, 3))
    return Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))
