from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from odd_files import BAD, BLUE, GOOD, RED, noise, packed, png_of, solid
from PIL import Image

from cutaway.data import Undecodable, decode
from cutaway.data.cost import MAX_PIXELS
from cutaway.data.decode import probe
from cutaway.data.pixels import fit
from cutaway.errors import InputError


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_but_good_file_has_the_pixels_one_expects(name: str) -> None:
    make, expected = GOOD[name]
    pixels = decode(make())
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    found = [tuple(pixel) for pixel in pixels.reshape(3, -1).T[: len(expected)].tolist()]
    assert found == [tuple(pixel) for pixel in expected]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason(name: str) -> None:
    make, reason = BAD[name]
    with pytest.raises(Undecodable, match=reason) as caught:
        decode(make(), size=8)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


def test_there_are_at_least_25_kinds_of_bad_files() -> None:
    assert len(BAD) >= 25


def test_lab_white_is_white_to_one_level() -> None:
    pixels = decode(packed(solid("LAB", (255, 128, 128)), "TIFF"))
    assert pixels.min() >= 254


def test_grey_is_the_luma_of_the_colours() -> None:
    image = Image.new("RGB", (3, 1))
    image.putdata([RED, BLUE, (10, 20, 30)])
    assert decode(packed(image, "PNG"), channels=1).tolist() == [[[76, 29, 18]]]


@pytest.mark.parametrize("name", GOOD)
def test_the_probe_agrees_with_the_decoder(name: str) -> None:
    content = GOOD[name][0]()
    header = probe(content)
    pixels = decode(content)
    assert pixels.shape == (3, header.height, header.width)
    if header.grey:
        assert (pixels[0] == pixels[1]).all()
        assert (pixels[0] == pixels[2]).all()


def test_the_same_from_path_bytes_and_open_file(tmp_path: Path) -> None:
    content = packed(noise(), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    expected = np.asarray(noise()).transpose(2, 0, 1)
    for file in (content, tmp_path / "a.png", str(tmp_path / "a.png"), io.BytesIO(content)):
        assert (decode(file) == expected).all()


def test_a_folder_a_pipe_a_broken_link_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for name, reason in [
        ("x.jpg", "a folder, not a file"),
        ("pipe.jpg", "not a regular file"),
        ("link.jpg", "a broken symbolic link"),
        ("missing.jpg", "the file does not exist"),
    ]:
        with pytest.raises(Undecodable, match=reason):
            decode(tmp_path / name)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(packed(noise(), "PNG"))

    def refuse(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Undecodable, match="no permission to read it"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(InputError, match=f"1 .grey. or 3 .colour.; found {channels}"):
        decode(packed(noise(), "PNG"), channels=channels)


def test_every_orientation_equals_turning_by_hand() -> None:
    pixels = np.asarray(noise(3, 5))
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    for orientation, expected in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = packed(Image.fromarray(pixels), "PNG", exif=exif)
        assert (decode(content) == expected.transpose(2, 0, 1)).all(), orientation
        assert probe(content)[:2] == expected.shape[:2]
        assert probe(content).turned == (orientation != 1)


def test_damaged_exif_is_no_reason_to_lose_an_image() -> None:
    content = packed(noise(), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert decode(content).shape == (3, 24, 24)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(Undecodable, match="decompression bomb"):
        decode(png_of(side, side))


def test_a_huge_jpeg_is_decoded_small_and_right() -> None:
    left, right = solid("RGB", (200, 40, 40), (2500, 4000)), solid("RGB", (40, 40, 200), (2500, 4000))
    image = Image.new("RGB", (5000, 4000))
    image.paste(left, (0, 0))
    image.paste(right, (2500, 0))
    pixels = decode(packed(image, "JPEG", quality=95), size=8)
    assert np.abs(pixels[:, :, :3].astype(int) - np.array([200, 40, 40])[:, None, None]).max() <= 3
    assert np.abs(pixels[:, :, 5:].astype(int) - np.array([40, 40, 200])[:, None, None]).max() <= 3


def test_resizing_scales_the_shorter_side_and_cuts_the_centre() -> None:
    # Four columns of 10 pixels; the square in the middle holds the second and the third.
    image = Image.new("RGB", (40, 20))
    for column, level in enumerate((0, 100, 200, 255)):
        image.paste((level, level, level), (10 * column, 0, 10 * column + 10, 20))
    assert np.abs(decode(packed(image, "PNG"), size=2)[0].astype(int) - [[100, 200]] * 2).max() <= 15
    assert decode(packed(image, "PNG"), size=(20, 40)).shape == (3, 20, 40)
    assert (decode(packed(image, "PNG"), size=(20, 20)) == decode(packed(image, "PNG"))[:, :, 10:30]).all()


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode(packed(Image.fromarray(stripes), "PNG"), size=8, channels=1)
    assert np.abs(pixels.astype(int) - 128).max() <= 16


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (31, 64), (100, 100)])
@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (17, 5), (64, 64)])
def test_fit_always_gives_the_size(size: tuple[int, int], shape: tuple[int, int]) -> None:
    image = fit(solid("RGB", (1, 2, 3), shape), size)
    assert (image.height, image.width) == size
    assert image.getpixel((0, 0)) == (1, 2, 3)


def test_words_of_a_reason_hold_no_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    with pytest.raises(Undecodable) as caught:
        decode(tmp_path / "a.jpg")
    assert not re.search(re.escape(str(tmp_path)), str(caught.value))
