"""Images are brought to a network's size in one way, whatever they come as."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cutaway.data import decode
from cutaway.data.pixels import fitted
from cutaway.models import Preprocessing
from cutaway.scope import Scope

SIZES = [(32, 48), (48, 32), (7, 7), (224, 224), (1, 9)]
SHAPES = [(3, 32, 32), (1, 24, 40), (3, 11, 3)]


def noise(channels: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, channels, *size), np.uint8)


def picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_a_picture_a_file_and_data_become_the_same(
    size: tuple[int, int], channels: int, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    images = noise(channels, size)
    file = io.BytesIO()
    picture(images[0]).save(file, "PNG")
    (tmp_path / "image.png").write_bytes(file.getvalue())
    expected = decode(file.getvalue(), size=shape[1:], channels=shape[0])
    assert np.array_equal(fitted(images, shape)[0], expected)
    scope = Scope(torch.nn.Identity(), preprocessing=Preprocessing(shape, (0.5,) * shape[0], (0.2,) * shape[0]))
    for way in (picture(images[0]), str(tmp_path / "image.png")):
        assert np.array_equal(scope.inputs(way).pixels[0].numpy(), expected)
    assert torch.equal(scope.prepare(images)[:1], scope.inputs(str(tmp_path / "image.png")).values)


def test_large_images_too(tmp_path: Path) -> None:
    rows = np.add.outer(np.arange(5000), np.arange(6000)) % 256
    image = Image.fromarray(rows.astype(np.uint8))
    image.save(tmp_path / "large.png")
    expected = decode(tmp_path / "large.png", size=(24, 24), channels=1)
    assert np.array_equal(fitted(np.asarray(image)[None, None], (1, 24, 24))[0], expected)


def test_by_hand() -> None:
    grey = noise(1, (6, 6))
    assert fitted(grey, (1, 6, 6)) is grey
    assert np.array_equal(fitted(grey, (3, 6, 6)), grey.repeat(3, 1))
    colour = np.zeros((1, 3, 2, 2), np.uint8)
    colour[:, 1] = 100
    assert np.unique(fitted(colour, (1, 2, 2))).tolist() == [59]  # 0.587 of it, rounded
    wide = np.zeros((1, 1, 2, 6), np.uint8)
    wide[..., :2] = wide[..., 4:] = 255
    assert fitted(wide, (1, 2, 2)).tolist() == [[[[0, 0], [0, 0]]]]  # the centre is cut, nothing is squeezed
    assert fitted(grey[:0], (3, 4, 4)).shape == (0, 3, 4, 4)
