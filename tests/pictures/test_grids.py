import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutaway.errors import InputError
from cutaway.pictures import Picture, Scale, channel_grid, image_grid, kernel_grid, network_figure, to_rgb
from cutaway.pictures import text as words
from cutaway.pictures.colours import HATCH, PAPER, palette
from cutaway.pictures.grids import choose
from cutaway.pictures.picture import MARGIN, TITLE_SIZE
from cutaway.pictures.text import font_for, shortened, text_width

TOP = MARGIN + TITLE_SIZE + 10


def test_choice_is_seeded() -> None:
    assert choose(5, None).tolist() == [0, 1, 2, 3, 4]
    assert choose(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert choose(100, 5, 1).tolist() == choose(100, 5, 1).tolist()
    assert choose(100, 5, 1).tolist() != choose(100, 5, 2).tolist()
    assert np.all(np.diff(choose(100, 50)) > 0)


def test_pixels_are_the_values() -> None:
    maps = np.arange(-8.0, 8.0).reshape(1, 4, 4)
    picture = channel_grid(maps, layer="conv", zoom=1)
    assert picture.scale == Scale(-8, 8, "signed")
    assert np.array_equal(picture.pixels[TOP : TOP + 4, MARGIN : MARGIN + 4], to_rgb(maps[0], Scale(-8, 8)))
    assert picture.pixels[TOP + 2, MARGIN].tolist() == palette("signed")[125].tolist()
    assert picture.pixels[TOP, MARGIN].tolist() == palette("signed")[0].tolist()


def test_zoom_repeats_pixels() -> None:
    maps = np.random.default_rng(0).random((1, 4, 4))
    small, large = channel_grid(maps, layer="a", zoom=1), channel_grid(maps, layer="a", zoom=3)
    assert np.array_equal(
        large.pixels[TOP : TOP + 12 : 3, MARGIN : MARGIN + 12 : 3], small.pixels[TOP : TOP + 4, MARGIN : MARGIN + 4]
    )


def test_title_tells_how_many_of_how_many() -> None:
    maps = np.ones((20, 5, 5))
    assert channel_grid(maps, layer="conv1").caption == "conv1  ·  20 channels of 5×5"
    assert channel_grid(maps, layer="conv1", count=6).caption == "conv1  ·  6 of 20 channels of 5×5"
    kernels = np.ones((70, 20, 3, 3))
    assert kernel_grid(kernels, layer="c").caption == "c  ·  kernels 3×3  ·  64 of 70 outputs, 16 of 20 inputs"


def test_dead_channels_show() -> None:
    maps = np.random.default_rng(0).random((4, 8, 8))
    hatch = palette("magnitude")[HATCH]
    alive = channel_grid(maps)
    maps[2] = 0
    dead = channel_grid(maps)
    assert (dead.pixels == hatch).all(-1).sum() > 100
    assert (dead.pixels == hatch).all(-1).sum() > (alive.pixels == hatch).all(-1).sum() + 100


def test_kernels_as_tiles_and_as_colours() -> None:
    kernels = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    picture = kernel_grid(kernels, layer="conv1", zoom=1)
    scale = Scale.of(kernels, "signed")
    for index in range(3):
        left = MARGIN + index * 5  # three pixels and a gap of two
        assert np.array_equal(picture.pixels[TOP : TOP + 3, left : left + 3], to_rgb(kernels[0, index], scale))
    colours = kernel_grid(kernels, layer="conv1", zoom=1, rgb=True)
    expected = ((kernels[0] / scale.high + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    assert np.array_equal(colours.pixels[TOP : TOP + 3, MARGIN : MARGIN + 3], expected)


def test_kernels_are_signed_even_if_none_is_negative() -> None:
    scale = kernel_grid(np.ones((2, 1, 3, 3))).scale
    assert scale is not None
    assert (scale.kind, scale.low, scale.high) == ("signed", -1.0, 1.0)


def test_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    picture = image_grid(images, ["a", "b", "运动鞋"], zoom=1, columns=3)
    assert np.array_equal(picture.pixels[MARGIN : MARGIN + 8, MARGIN : MARGIN + 8], images[0].transpose(1, 2, 0))
    grey = image_grid(images[:, :1], zoom=1, columns=3)
    assert np.array_equal(grey.pixels[MARGIN : MARGIN + 8, MARGIN : MARGIN + 8, 2], images[0, 0])


def test_network_figure_has_a_column_a_layer() -> None:
    random = np.random.default_rng(0)
    layers = [("conv0", random.normal(size=(64, 32, 32))), ("conv1", random.random((12, 16, 16)))]
    picture = network_figure(layers, count=10)
    assert picture.pixels.shape[1] == 2 * MARGIN + 2 * 64 + 8
    head = MARGIN + 18
    for column, (_, maps) in enumerate(layers):
        shown, zoom = choose(len(maps), 10), 64 // maps.shape[1]
        scale = Scale.of(maps[shown])
        for row, channel in enumerate(shown):
            top, left = head + row * (64 + 14), MARGIN + column * 72
            tile = picture.pixels[top : top + 64 : zoom, left : left + 64 : zoom]
            assert np.array_equal(tile, to_rgb(maps[channel], scale))


def test_network_figure_of_few_channels_and_odd_sizes() -> None:
    layers = [("a", np.ones((3, 5, 7))), ("b", np.zeros((20, 1, 1))), ("c", np.ones((4, 90, 90)))]
    assert network_figure(layers, count=4).pixels.shape[1] == 2 * MARGIN + 3 * 90 + 2 * 8
    with pytest.raises(InputError, match="at least one layer"):
        network_figure([])


def test_wrong_shapes_say_what_was_found() -> None:
    with pytest.raises(InputError, match=r"maps must be \(C, H, W\) and not empty; found \(2, 3\)"):
        channel_grid(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"kernels must be \(out, in, kh, kw\) and not empty; found \(0, 1, 3, 3\)"):
        kernel_grid(np.zeros((0, 1, 3, 3)))


def test_picture_saves_and_shows(tmp_path: Path) -> None:
    picture = Picture(np.full((4, 5, 3), 7, dtype=np.uint8), 'maps of "<script>"')
    path = picture.save(tmp_path / "deep" / "a.png")
    assert np.array_equal(np.asarray(Image.open(path)), picture.pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.png()))), picture.pixels)
    page = picture._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_signs_that_no_font_has_are_question_marks_and_the_picture_names_a_font(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(words, "wide_font", lambda: None)
    assert font_for("运动鞋", 10) is None
    assert text_width("运动鞋", 10) == text_width("???", 10)
    images = np.zeros((1, 1, 64, 64), dtype=np.uint8)
    chinese, marks = image_grid(images, ["1-甲"], zoom=1), image_grid(images, ["1-?"], zoom=1)
    height, width = marks.pixels.shape[:2]
    below = chinese.pixels.shape[0] - height
    assert below > 0
    assert np.array_equal(chinese.pixels[: height - MARGIN, :width], marks.pixels[: height - MARGIN])
    assert (chinese.pixels[height - MARGIN :] != PAPER).any()


@pytest.mark.skipif(words.wide_font() is None, reason="no font with Chinese signs is installed (fonts-noto-cjk)")
def test_chinese_class_names_are_written() -> None:
    images = np.zeros((1, 1, 64, 64), dtype=np.uint8)
    named, empty = image_grid(images, ["1-甲"], zoom=1), image_grid(images, ["1-"], zoom=1)
    assert named.pixels.shape == empty.pixels.shape
    assert (named.pixels != empty.pixels).any()


def test_long_names_keep_their_end() -> None:
    assert shortened("conv1", 10, 64) == "conv1"
    short = shortened("features.denseblock1.denselayer1.conv2", 10, 64)
    assert short.startswith("…")
    assert short.endswith("conv2")
    assert text_width(short, 10) <= 64


def test_paper_around() -> None:
    picture = channel_grid(np.ones((1, 4, 4)))
    assert picture.pixels[0, 0].tolist() == list(PAPER)
