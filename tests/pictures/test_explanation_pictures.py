"""Explanations as pictures: scales that hold what they say, overlays that show the image where the map is silent."""

from __future__ import annotations

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.pictures.colours import to_rgb
from cutaway.pictures.explanation import Tile, explanation_figure, explanation_sheet, heat_scale, overlay, range_line


def maps(count: int = 2, side: int = 8, low: float = -1.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, 1, (count, side, side)).astype(np.float32)


def photographs(count: int = 2, channels: int = 3, side: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def test_signed_values_have_zero_in_the_middle_and_magnitudes_at_the_end() -> None:
    signed, magnitude = heat_scale(maps()), heat_scale(maps(low=0.0))
    assert (signed.kind, signed.low) == ("signed", -signed.high)
    assert (magnitude.kind, magnitude.low) == ("magnitude", 0)


def test_a_scale_holds_all_but_one_pixel_in_200() -> None:
    heat = np.arange(1.0, 1001).reshape(1, 20, 50)
    heat[0, 0, 0] = 1e9
    scale = heat_scale(heat)
    assert (heat > scale.high).sum() == 5
    assert range_line(heat, scale) == "0 … 996, largest 1e+09"


def test_a_map_of_one_pixel_and_a_map_of_nothing_have_a_scale() -> None:
    heat = np.zeros((20, 20))
    assert (heat_scale(heat).low, heat_scale(heat).high) == (0, 0)
    heat[3, 4] = -2
    assert (heat_scale(heat).low, heat_scale(heat).high) == (-2, 2)


def test_where_the_map_is_zero_the_overlay_is_the_pale_image() -> None:
    image, heat = photographs(1)[0], np.zeros((8, 8))
    heat[2, 3] = 1
    found = overlay(image, heat, heat_scale(heat))
    silent = np.delete(found.reshape(-1, 3), 2 * 8 + 3, axis=0)
    assert (silent == silent[:, :1]).all()
    grey = image.transpose(1, 2, 0) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(np.delete((grey + 0.55 * (255 - grey)).reshape(-1), 2 * 8 + 3) - silent[:, 0]).max() <= 1
    assert found[2, 3, 0] > found[2, 3, 2] + 50


def test_evidence_against_is_blue() -> None:
    heat = np.zeros((8, 8))
    heat[2, 3], heat[4, 4] = -1, 1
    found = overlay(photographs(1)[0], heat, heat_scale(heat)).astype(int)
    assert found[2, 3, 2] > found[2, 3, 0] + 30
    assert found[4, 4, 0] > found[4, 4, 2] + 30


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_holds_image_map_and_overlay_in_a_row(channels: int) -> None:
    images, heat = photographs(1, channels, 28), maps(1, 28)
    figure = explanation_figure(images, heat, title="grad-cam", names=["cat"])
    zoom, top, left = 8, 12 + 23, 12
    picture = figure.pixels[top : top + 28 * zoom : zoom, left : left + 3 * (28 * zoom + 6) : 1]
    columns = [picture[:, start * (28 * zoom + 6) :][:, : 28 * zoom : zoom] for start in range(3)]
    assert figure.scale is not None
    assert (columns[0] == np.broadcast_to(images[0].transpose(1, 2, 0), (28, 28, 3))).all()
    assert (columns[1] == to_rgb(heat[0], figure.scale)).all()
    assert (columns[2] == overlay(images[0], heat[0], figure.scale)).all()


def test_scales_are_shared_or_own_and_the_caption_says_so() -> None:
    images, heat = photographs(2), maps(2) * np.array([1, 10])[:, None, None]
    own, shared = (explanation_figure(images, heat, shared=shared) for shared in (False, True))
    assert "each image on its own scale" in own.caption
    assert "one scale for all" in shared.caption
    assert own.scale is not None
    assert shared.scale is not None
    assert (own.scale.shared, shared.scale.shared) == (False, True)
    assert own.scale.high == max(heat_scale(one).high for one in heat)
    assert shared.scale.high == heat_scale(heat).high
    assert not (own.pixels == shared.pixels).all()
    assert "scale for" not in explanation_figure(images[:1], heat[:1]).caption


def test_magnitudes_may_be_asked_for() -> None:
    assert explanation_figure(photographs(1), maps(1, low=0.0), signed=True).scale.kind == "signed"
    assert explanation_figure(photographs(1), np.abs(maps(1)), signed=False).scale.kind == "magnitude"


def test_the_sheet_has_a_tile_a_method_and_says_that_each_has_its_own_scale() -> None:
    tiles = [Tile(f"method-{index}", heat, ("place 1.0", "0.3 s")) for index, heat in enumerate(maps(7, 28))]
    sheet = explanation_sheet(photographs(1, 1, 28)[0], tiles, title="cat", name="a.png", columns=4)
    assert "each map on its own scale" in sheet.caption
    assert sheet.pixels.shape[1] == 2 * 12 + 4 * 168 + 3 * 8
    assert sheet.pixels.dtype == np.uint8


def test_what_does_not_fit_together_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"images must be \(N, C, H, W\) and maps \(N, H, W\) of the same size"):
        explanation_figure(photographs(1), maps(1, 4))
    with pytest.raises(InputError, match="needs at least one map"):
        explanation_sheet(photographs(1)[0], [Tile("cam", None)])
