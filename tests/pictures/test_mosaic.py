import io

import numpy as np
import pytest
from PIL import Image

from cutaway.pictures import Layout, Scale, mosaic, to_rgb
from cutaway.pictures.colours import GAP, HATCH, palette
from cutaway.pictures.mosaic import dead_maps, tile_entries, whole_zoom

MAPS = np.random.default_rng(0).normal(size=(5, 3, 4))
SCALE = Scale.of(MAPS)


def slowly(maps: np.ndarray, scale: Scale, layout: Layout, zoom: int) -> np.ndarray:
    """The same picture, pixel by pixel."""
    height, width = layout.size
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = palette(scale.kind)[GAP]
    for tile in range(len(maps)):
        top, left = layout.corner(tile)
        colours = to_rgb(maps[tile], scale)
        for row in range(maps.shape[1] * zoom):
            for column in range(maps.shape[2] * zoom):
                picture[top + row, left + column] = colours[row // zoom, column // zoom]
    return picture


@pytest.mark.parametrize(("columns", "zoom", "gap", "label"), [(2, 1, 2, 0), (3, 2, 1, 5), (5, 3, 0, 0), (1, 1, 3, 2)])
def test_the_same_as_pixel_by_pixel(columns: int, zoom: int, gap: int, label: int) -> None:
    layout = Layout(len(MAPS), columns, 3 * zoom, 4 * zoom, gap, label)
    assert np.array_equal(mosaic(MAPS, SCALE, layout, zoom).pixels, slowly(MAPS, SCALE, layout, zoom))


def test_each_on_its_own_scale() -> None:
    maps = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 100.0)])
    entries = tile_entries(maps, Scale.of(maps, shared=False), 1)
    assert entries[0].tolist() == entries[1].tolist() == [[250, 250], [250, 250]]
    assert tile_entries(maps, Scale.of(maps), 1)[0].tolist() == [[2, 2], [2, 2]]


def test_dead_channels_are_hatched_and_others_not() -> None:
    maps = MAPS.copy()
    maps[1] = 0
    assert dead_maps(maps).tolist() == [False, True, False, False, False]
    entries = tile_entries(maps, SCALE, 8)
    assert set(np.unique(entries[1]).tolist()) == {125, HATCH}
    assert (entries[1][0] == HATCH).all()
    assert not (entries[[0, 2, 3, 4]] == HATCH).any()


def test_a_map_that_is_not_a_number_is_not_dead() -> None:
    assert not dead_maps(np.full((1, 2, 2), np.nan))[0]


def test_png_has_the_same_colours_and_clear_gaps() -> None:
    layout = Layout(len(MAPS), 2, 6, 8)
    made = mosaic(MAPS, SCALE, layout, 2)
    image = Image.open(io.BytesIO(made.png()))
    assert image.mode == "P"
    pixels = np.asarray(image.convert("RGBA"))
    assert np.array_equal(pixels[..., :3], made.pixels)
    assert np.array_equal(pixels[..., 3] == 0, made.entries == GAP)


def test_whole_number_zoom() -> None:
    assert [whole_zoom(side, 64) for side in (2, 4, 7, 28, 32, 33, 64, 65, 224)] == [32, 16, 9, 2, 2, 1, 1, 1, 1]
