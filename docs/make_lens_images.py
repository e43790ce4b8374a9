"""The pictures of the pages about lenses: `python docs/make_lens_images.py FOLDER [NAME]...`.

They are of EfficientNet-Lite0 with ImageNet weights (see `efficientnet.py`) and of photographs that come with
scikit-image. `--photos` is a data set for the exemplars (CIFAR-10), `--runs` are two runs to compare.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage.data
import torch
from efficientnet import scope as open_scope
from make_images import make_small
from torch.nn.functional import interpolate

from cutaway import compare, load_data
from cutaway.lenses.attribution import METHODS
from cutaway.pictures import Picture, channel_grid, image_grid, kernel_grid
from cutaway.pictures.explanation import Tile, explanation_figure, explanation_sheet
from cutaway.scope import Scope
from cutaway.scope.explanation import CHECK

MOST_BYTES = 500_000
# Hundreds of passes: the check would double them.
SLOW = ("score-cam", "ablation-cam", "rise")
PHOTOS = ("cat", "coffee", "rocket", "astronaut")
CAT, TABBY = "cat", "tabby"
PAGES = {
    "gradients-of-the-input": (
        *("saliency", "input-x-gradient", "smoothgrad", "vargrad", "guided-backprop", "deconvolution"),
    ),
    "integrated-gradients": ("integrated-gradients",),
    "cam": (
        *("grad-cam", "grad-cam++", "xgrad-cam", "hires-cam", "layer-cam", "eigen-cam", "cam"),
        *("score-cam", "ablation-cam", "guided-grad-cam"),
    ),
    "occlusion": ("occlusion", "rise"),
    "lrp": ("lrp-epsilon", "lrp-gamma", "lrp-z+"),
    "deeplift": ("deeplift",),
}
# The ablations of experiment 5: what the image becomes without each of the four.
ABLATIONS = {"all four": {}, **{f"without {name}": {name: 0} for name in ("jitter", "l2")}}
ABLATIONS |= {f"without {name}": {name: False} for name in ("clamp", "blur")}


def photo(name: str) -> np.ndarray:
    """One of scikit-image's photographs, uint8 (height, width, 3), cut to a square in its middle."""
    pixels = getattr(skimage.data, name)()
    height, width = pixels.shape[:2]
    side = min(height, width)
    return pixels[(height - side) // 2 :, (width - side) // 2 :][:side, :side]


def sheet(scope: Scope, methods: Sequence[str], name: str = CAT, target: str | None = TABBY) -> Picture:
    """Several methods on one photograph."""
    tiles = []
    for method in methods:
        found = scope.explain(photo(name), method, target, check=method not in SLOW)
        kept = found.certificate.check.get(CHECK)
        line = () if kept is None else (f"{kept:.2f} like that of scrambled weights",)
        tiles.append(Tile(method, found.heat[0].numpy(), line))
    pixels = scope.inputs(photo(name)).pixels[0].numpy()
    title = f"EfficientNet-Lite0, {found.attribution.target.name(0)}"
    return explanation_sheet(pixels, tiles, title=title, name=name, columns=min(4, len(tiles) + 1))


def four_photos(scope: Scope) -> Picture:
    """Grad-CAM of the predicted class of each photograph."""
    found = scope.explain([photo(name) for name in PHOTOS], "grad-cam")
    names = [f"{name}: {found.attribution.target.name(index)}" for index, name in enumerate(PHOTOS)]
    return explanation_figure(found.pixels.numpy(), found.heat.numpy(), title="grad-cam", names=names, signed=False)


def feature_maps(scope: Scope) -> Picture:
    """Some channels of an early layer."""
    layer = "_blocks.1._bn1"
    maps = scope.feature_maps(photo(CAT), layer).maps[layer][0].numpy()
    return channel_grid(maps, layer=layer, count=12, columns=4)


def first_kernels(scope: Scope) -> Picture:
    """The first kernels as colours."""
    return kernel_grid(scope.kernels("_conv_stem").kernels["_conv_stem"].numpy(), layer="_conv_stem", rgb=True)


def first_gradients(scope: Scope) -> Picture:
    """How the loss would change them."""
    found = scope.gradients(photo(CAT), TABBY, "_conv_stem").kernels["_conv_stem"].numpy()
    return kernel_grid(found, layer="_conv_stem", what="gradients of the kernels", rgb=True)


def classic(scope: Scope) -> Picture:
    """Experiment 5's class image, and the same without each regulariser."""
    rows = [scope.imagine("tarantula", "classic", **options).images[0].numpy() for options in ABLATIONS.values()]
    return labelled(rows, list(ABLATIONS))


def styles(scope: Scope) -> Picture:
    """Two classes and two units in the three styles."""
    targets = ["tarantula", "goldfish", "_blocks.5._bn0:12", "_blocks.12._bn0:100"]
    rows, names = [], []
    for style in ("classic", "fourier", "maco"):
        found = scope.imagine(targets, style)
        rows += [image.numpy() for image in found.images]
        names += [f"{style}: {target}" for target in targets]
    return labelled(rows, names, columns=4)


def labelled(images: Sequence[np.ndarray], names: Sequence[str], columns: int = 5) -> Picture:
    """Images uint8 (C, H, W) at their own size, with a word below each."""
    return image_grid(np.stack(images), names, columns=columns)


def ranked(scope: Scope) -> Picture:
    """All methods but the slow ones on the cat, best first, in smaller tiles: there are many."""
    found = scope.rank(photo(CAT), [method for method in METHODS if method not in SLOW], TABBY)
    rows = [row if row.shown is None else replace(row, shown=smaller(row.shown[None])[0]) for row in found.rows]
    pixels = smaller(found.pixels.float()).round().to(torch.uint8)
    return replace(found, pixels=pixels, rows=tuple(rows)).picture()


def smaller(values: torch.Tensor) -> torch.Tensor:
    """Images or maps (N, C, H, W) at three quarters of their side."""
    return interpolate(values, scale_factor=0.75, mode="bilinear", antialias=True)


def exemplars(scope: Scope, photos: str) -> Picture:
    """The patches of some units of a layer in the middle."""
    return scope.exemplars(load_data(photos), "_blocks.5._bn0", k=9, split="test").picture()


def compared(runs: Sequence[str], data: str) -> Picture:
    """The similarity of all layers of two runs."""
    return compare(Scope(runs[0]), Scope(runs[1]), load_data(data), images=1000).picture()


def pictures(arguments: argparse.Namespace) -> dict[str, Callable[[], Picture]]:
    """What can be made, by name."""
    scope = open_scope()
    found: dict[str, Callable[[], Picture]] = {
        name: lambda methods=methods: sheet(scope, methods) for name, methods in PAGES.items()
    }
    assert {method for methods in PAGES.values() for method in methods} == set(METHODS)
    found |= {
        "explain": lambda: four_photos(scope),
        "feature-maps": lambda: feature_maps(scope),
        "kernels": lambda: first_kernels(scope),
        "weight-gradients": lambda: first_gradients(scope),
        "classic": lambda: classic(scope),
        "imagine": lambda: styles(scope),
        "faithfulness": lambda: ranked(scope),
    }
    if arguments.photos:
        found["exemplars"] = lambda: exemplars(scope, arguments.photos)
    if arguments.runs:
        found["compare"] = lambda: compared(arguments.runs, arguments.data)
    return found


def main() -> None:
    """Make the pictures that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--photos")
    parser.add_argument("--runs", nargs=2)
    parser.add_argument("--data", default="fashion-mnist")
    arguments = parser.parse_args()
    for name, draw in pictures(arguments).items():
        if not arguments.names or name in arguments.names:
            path = draw().save(arguments.folder / f"{name}.png")
            make_small(path, MOST_BYTES)
            print(path, f"{path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
