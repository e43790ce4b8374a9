"""From whatever a person has in hand (a file, a photograph, pixels, a tensor) to the network's input."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cutaway.data import Dataset, Undecodable, decode
from cutaway.data.pixels import as_shape, fitted
from cutaway.errors import InputError
from cutaway.models import Preprocessing
from cutaway.pictures import image_grid
from cutaway.showing import Card, Shown

Images = Tensor | np.ndarray | Image.Image | str | Path | Sequence["Tensor | np.ndarray | Image.Image | str | Path"]
"""What people have in hand; `read_inputs` says what each means."""

Layers = str | Sequence[str] | None
"""Dotted names as in `named_modules()`, `layer1.0.relu#1` for a second call; None for those that a lens looks at."""

_PLACE = re.compile(r"(train|val|test):(\d+)")
# Standardised pixels reach 3 or so; a float this far outside the range is a picture that was not standardised.
_FAR = 8.0
_SHOWN = 32  # images in a notebook


@dataclass(frozen=True)
class Inputs(Shown):
    """Images as the network sees them and as people do.

    Attributes:
        values: float32 (N, C, H, W), as the network expects them.
        pixels: uint8 (N, C, H, W), for pictures.
        names: what each image is called.
    """

    values: Tensor
    pixels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def card(self) -> Card:
        """The images with their names, and what the network sees."""
        names = self.names[:_SHOWN]
        grid = replace(image_grid(self.pixels[:_SHOWN].numpy(), names), caption=", ".join(names))
        return Card("", (grid.still(), {"the network sees": self.values}))


def read_inputs(
    images: Images,
    preprocessing: Preprocessing | None,
    name: str = "",
    dataset: Callable[[], Dataset | None] = lambda: None,
) -> Inputs:
    """`images` as the network's input.

    Args:
        images: float (N, C, H, W) or (C, H, W) as the network expects it; uint8 pixels of that form, or (H, W),
            (H, W, 3) and (H, W, 4) as photographs come in arrays; a PIL image; a path; `test:412` for an image of a
            run's data; or a list of these.
        preprocessing: how pixels become the network's input; None if nobody knows.
        name: of the network, for people.
        dataset: gives the data of its run, for `test:412`.

    Raises:
        InputError: nothing to look at, a file that cannot be read, a wrong shape or range.
    """
    if isinstance(images, Tensor) and images.is_floating_point():
        return _standardised(images, preprocessing)
    several = images if isinstance(images, (list, tuple)) else _split(images)
    if not several:
        raise InputError("there is no image to look at: an empty list was given")
    if all(isinstance(one, Tensor) and one.is_floating_point() for one in several):
        return _standardised(torch.stack(list(several)), preprocessing)
    if preprocessing is None:
        raise InputError(
            f"{name or 'this network'} does not say how its input is standardised; give a run, weights that say it, "
            "or Scope(model, preprocessing=Preprocessing(shape, mean, std))"
        )
    pixels = torch.stack([_pixels(one, preprocessing, name, dataset) for one in several])
    return Inputs(preprocessing(pixels), pixels, tuple(_name(one, index) for index, one in enumerate(several)))


def _split(images: Any) -> Sequence[Any]:
    """One image or a batch in one object, as a list."""
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        return list(images)
    return [images]


def _standardised(images: Tensor, preprocessing: Preprocessing | None) -> Inputs:
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or not len(images):
        raise InputError(f"images must be (N, C, H, W) with at least one image; found {tuple(images.shape)}")
    names = tuple(f"image {index}" for index in range(len(images)))
    if not preprocessing:
        return Inputs(images, _stretched(images), names)
    if tuple(images.shape[1:]) != preprocessing.shape:
        expected = "x".join(map(str, preprocessing.shape))
        raise InputError(f"images must be {expected}; found {'x'.join(map(str, images.shape[1:]))}")
    _check_range(images, preprocessing)
    return Inputs(images, preprocessing.pixels(images), names)


def _check_range(images: Tensor, preprocessing: Preprocessing) -> None:
    ends = [
        (end - mean) / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True) for end in (0, 1)
    ]
    low, high = float(images.min()), float(images.max())
    width = max(ends) - min(ends)
    if high > max(ends) + _FAR * width or low < min(ends) - _FAR * width:
        raise InputError(
            f"float images must be standardised, about {min(ends):.2g} to {max(ends):.2g} for this model; "
            f"found {low:.3g} to {high:.3g}; give pixels of 0 to 255 as uint8"
        )


def _stretched(images: Tensor) -> Tensor:
    """Pixels for pictures where nobody knows the range: each image from its least to its largest value."""
    flat = images.detach().float().flatten(1)
    low, high = flat.amin(1).view(-1, 1, 1, 1), flat.amax(1).view(-1, 1, 1, 1)
    return ((images.detach().float() - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8).cpu()


def _pixels(image: Any, preprocessing: Preprocessing, name: str, dataset: Callable[[], Dataset | None]) -> Tensor:
    """Uint8 (C, H, W) of one image."""
    if isinstance(image, (str, Path)):
        place = _PLACE.fullmatch(str(image))
        if place and not os.path.lexists(image):
            return _of_data(name, dataset(), place[1], int(place[2]), preprocessing)
        return _read(image, preprocessing)
    if isinstance(image, Image.Image):
        return _fitted(image, preprocessing, "the PIL image")
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype != np.uint8:
        raise InputError(f"pixels must be uint8, 0 to 255; found {array.dtype}; a standardised image is a float tensor")
    if tuple(array.shape) == preprocessing.shape:
        return torch.from_numpy(array.copy())
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4)):
        return _fitted(Image.fromarray(array), preprocessing, "the array")
    expected = "x".join(map(str, preprocessing.shape))
    raise InputError(f"pixels must be {expected} or (height, width, 3); found {'x'.join(map(str, array.shape))}")


def _fitted(image: Image.Image, preprocessing: Preprocessing, name: str) -> Tensor:
    try:
        return torch.from_numpy(as_shape(image, preprocessing.shape))
    except (Undecodable, OSError, ValueError) as error:  # of an image that Pillow has opened and not yet read
        raise InputError(f"{name} cannot be read: {error}") from error


def _read(name: str | Path, preprocessing: Preprocessing) -> Tensor:
    if not os.path.lexists(name):  # what lies there may be a pipe or a folder: the decoder says so
        raise InputError(f"there is no image file {name}; for an image of the run's data write test:0")
    channels, height, width = preprocessing.shape
    try:
        return torch.from_numpy(decode(Path(name), size=(height, width), channels=channels))
    except Undecodable as error:
        raise InputError(f"{name} cannot be read: {error}") from error


def _of_data(name: str, data: Dataset | None, split: str, number: int, preprocessing: Preprocessing) -> Tensor:
    if data is None:
        raise InputError(
            f"'{split}:{number}' means an image of a run's data, and {name or 'this'} is no run; give a file"
        )
    if split not in data.splits or number >= len(data.splits[split]):
        sizes = ", ".join(f"{name} 0 to {len(part) - 1}" for name, part in data.splits.items())
        raise InputError(f"there is no image {split}:{number}; there are {sizes}")
    return torch.from_numpy(fitted(data.splits[split].images[[number]], preprocessing.shape)[0])


def _name(image: Any, index: int) -> str:
    return str(image) if isinstance(image, (str, Path)) else f"image {index}"
