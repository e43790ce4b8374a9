import io

import numpy as np
from PIL import Image

from cutaway.pictures.colours import Scale, palette, to_indices
from cutaway.views.sprite import map_sprite


def test_each_tile_holds_the_colours_of_its_map() -> None:
    maps = np.random.default_rng(0).normal(size=(7, 5, 4)).astype(np.float32)
    maps[3] = 0
    sprite = map_sprite(maps)
    sheet = np.array(Image.open(io.BytesIO(sprite.png)))
    assert sheet.shape == sprite.size
    for index, (left, top) in enumerate(sprite.corners):
        tile = sheet[top : top + 5, left : left + 4]
        assert (tile == to_indices(maps[index], Scale.of(maps))).all()
    assert sprite.dead == (False, False, False, True, False, False, False)
    assert sprite.zoom == 16


def test_each_on_its_own_scale_reaches_its_ends() -> None:
    maps = np.stack([np.arange(6.0).reshape(2, 3) * factor for factor in (1, 100)])
    sheet = np.array(Image.open(io.BytesIO(map_sprite(maps, shared=False).png)))
    assert sheet.max() == 250
    assert (sheet == 250).sum() == 2


def test_the_ends_of_the_palette_are_the_ends_of_the_scale() -> None:
    assert (palette("signed")[125] > 240).all()
