"""What decoding takes is bounded, and what it gives is what it always gave."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from odd_files import GOOD, chunk, noise, packed, solid
from PIL import Image, ImageFile, ImageOps

from cutaway.data import Undecodable, cost, decode, pixels
from cutaway.data.decode import glimpse, probe, read

DECODER = sys.modules["cutaway.data.decode"]  # `cutaway.data.decode` is the function


def formula(content: bytes, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """The decoder as it was before large images were shrunk in bands, written out: VERSION 1 stands for its pixels."""
    image = Image.open(io.BytesIO(content))
    if size and image.format in ("JPEG", "MPO"):
        image.draft(None, (2 * max(size), 2 * max(size)))
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        top = 65535.0
        if image.mode == "F":
            top = next((limit for limit in (1.0, 255.0) if values.max() <= limit), top)
        image = Image.fromarray(np.floor(np.clip(values, 0, top) * (255.0 / top) + 0.5).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    if size and image.size != size[::-1]:
        scale = max(size[1] / image.width, size[0] / image.height)
        left, top = (image.width - size[1] / scale) / 2, (image.height - size[0] / scale) / 2
        box = (max(left, 0), max(top, 0), min(image.width - left, image.width), min(image.height - top, image.height))
        image = image.resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def contents() -> dict[str, bytes]:
    found = {name: make() for name, (make, _) in GOOD.items()}
    generator = np.random.default_rng(0)
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK"):
        image = noise(61, 83).convert(mode)
        for kind in ("TIFF", "PNG") if mode != "CMYK" else ("TIFF", "JPEG"):
            found[f"{mode} {kind}"] = packed(image, kind)
    for dtype in (np.uint16, np.int32, np.float32):
        values = (generator.random((61, 83)) * 70000 - 100).astype(dtype)
        found[f"{np.dtype(dtype)} TIFF"] = packed(Image.fromarray(values), "TIFF")
    for quality, options in ((50, {}), (95, {"progressive": True})):
        found[f"JPEG {quality}"] = packed(noise(300, 200), "JPEG", quality=quality, **options)
    return found


@pytest.mark.parametrize("name", contents())
@pytest.mark.parametrize("size", [None, (7, 7), (20, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_of_ordinary_images_stay(name: str, size: tuple[int, int] | None, channels: int) -> None:
    content = contents()[name]
    assert (decode(content, size=size, channels=channels) == formula(content, size, channels)).all()


@pytest.fixture
def tiny_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image counts as a large one, and a band is some rows."""
    monkeypatch.setattr(pixels, "_BAND", 300)
    monkeypatch.setattr(pixels, "ORDINARY", 500)
    monkeypatch.setattr(DECODER, "ORDINARY", 500)


@pytest.mark.parametrize("name", contents())
@pytest.mark.usefixtures("tiny_bands")
def test_a_large_image_at_its_own_size_has_the_same_pixels(name: str) -> None:
    content = contents()[name]
    for channels in (1, 3):
        assert (decode(content, channels=channels) == formula(content, None, channels)).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16", "F"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.usefixtures("tiny_bands")
def test_a_large_image_is_shrunk_in_bands_to_what_it_shows(mode: str, orientation: int) -> None:
    y, x = np.ogrid[:120, :200]
    grey = (x + y * 0.4).astype(np.uint8)
    if mode in ("I;16", "F"):
        image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32))
    else:
        image = Image.fromarray(grey).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = packed(image, "TIFF" if mode == "F" else "PNG", exif=exif)
    small = decode(content, size=(12, 18)).astype(int)
    assert small.shape == (3, 12, 18)
    limit = 60 if mode == "1" else 3
    assert np.abs(small - formula(content, (12, 18), 3).astype(int)).max() <= limit


@pytest.mark.usefixtures("tiny_bands")
def test_without_a_size_a_large_image_is_shrunk_by_a_whole_number() -> None:
    image = noise(90, 60).resize((600, 900), Image.Resampling.NEAREST)
    assert decode(packed(image, "PNG"), most=900 * 600 // 100).shape == (3, 90, 60)
    assert (decode(packed(image, "PNG"), most=5400) == np.asarray(noise(90, 60)).transpose(2, 0, 1)).all()
    assert decode(packed(image, "PNG"), most=900 * 600).shape == (3, 900, 600)
    assert decode(packed(image, "JPEG"), most=60_000).shape == (3, 225, 150)  # a JPEG halves itself first


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
def test_header_and_decoder_have_one_size(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = packed(noise(20, 40), kind, exif=exif)
    header = probe(content)
    assert decode(content).shape == (3, header.height, header.width)
    assert (header.height, header.width) == ((40, 20) if orientation >= 5 else (20, 40))
    assert header.turned == (orientation > 1)


def png_with(kind: bytes, content: bytes, early: bool) -> bytes:
    """A PNG of 3 x 5 pixels with one chunk more, before its pixels or after them."""
    whole = packed(noise(3, 5), "PNG")
    place = whole.index(b"IDAT") - 4 if early else whole.index(b"IEND") - 4
    return whole[:place] + chunk(kind, content) + whole[place:]


@pytest.mark.parametrize("early", [True, False])
def test_a_png_is_turned_wherever_it_says_so(early: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = png_with(b"eXIf", exif.tobytes()[6:], early)
    assert decode(content).shape == (3, 5, 3)
    assert probe(content)[:2] == (5, 3)


def test_the_header_of_a_png_is_read_without_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(noise(), "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    assert probe(content)[:2] == (24, 24)


def test_an_icon_is_as_large_as_the_image_in_it() -> None:
    inner = packed(solid("RGB", (1, 2, 3), (300, 200)), "PNG")
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    assert decode(icon).shape == (3, 200, 300)
    assert probe(icon)[:2] == (200, 300)


@pytest.mark.parametrize(
    ("kind", "mode", "options", "size", "most"),
    [
        ("WEBP", "RGB", {}, 8, 4000),
        ("AVIF", "RGB", {}, 8, 4000),
        ("JPEG2000", "RGB", {}, 8, 4000),
        ("JPEG", "RGB", {"progressive": True}, 8, 16_000),
        ("PNG", "RGB", {}, 8, 8000),
        ("PNG", "RGB", {}, None, 8000),
        ("TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 2**20}, 8, 4000),
    ],
)
def test_what_would_take_too_much_is_refused_by_its_figures(
    monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, options: dict[str, object], size: int | None, most: int
) -> None:
    content = packed(solid(mode, 0, (100, 100)), kind, **options)
    assert decode(content, size=size).any() is not None
    monkeypatch.setattr(cost, "_SMALL", 0)
    monkeypatch.setattr(cost, "MEMORY", most + len(content))
    with pytest.raises(Undecodable, match=r"^would take 0\.00 GB to decode, more than the 0\.00 GB that are allowed; "):
        decode(content, size=size)


def test_a_large_jpeg_costs_only_what_it_is_decoded_to(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(solid("RGB", 0, (800, 800)), "JPEG")
    monkeypatch.setattr(cost, "_SMALL", 0)
    monkeypatch.setattr(cost, "MEMORY", 100 * 100 * 4 + 20_000 + len(content))
    assert decode(content, size=8).shape == (3, 8, 8)
    with pytest.raises(Undecodable, match="would take"):
        decode(content)


def test_a_jpeg_of_very_many_scans_is_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(noise(64, 64), "JPEG", progressive=True)
    start = content.index(b"\xff\xda", 0)
    scan = content[start : start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")]
    bomb = content[:-2] + scan * 2000 + content[-2:]
    monkeypatch.setattr(cost, "_JPEG_PASSES", 64 * 64 * 1000)
    with pytest.raises(Undecodable, match=r"a JPEG of 2,0\d\d scans over 0 million pixels: a bomb"):
        decode(bomb)
    assert decode(content).shape == (3, 64, 64)


def test_a_slow_format_has_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_SMALL", 0)
    monkeypatch.setattr(cost, "_SLOW_PIXELS", 100)
    with pytest.raises(Undecodable, match="more than 100 pixels in a slow format; save it as PNG"):
        decode(b"P3 20 20 255\n" + b"1 2 3 " * 400)
    assert decode(packed(noise(20, 20), "PPM")).shape == (3, 20, 20)


def test_a_sparse_file_of_20_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(20 * 10**9)
    with pytest.raises(Undecodable, match="20,000 MB, more than the 256 MB that are read"):
        decode(tmp_path / "huge.png")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_files_without_an_end_are_not_read(tmp_path: Path) -> None:
    for target, reason in (("/proc/kmsg", "the file is empty"), ("/dev/zero", "not a regular file")):
        (tmp_path / "link.png").symlink_to(target)
        with pytest.raises(Undecodable, match=f"{reason}|no permission"):
            decode(tmp_path / "link.png")
        (tmp_path / "link.png").unlink()


def test_an_open_file_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(DECODER, "MOST_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(2000))
    with (tmp_path / "a.png").open("rb") as file, pytest.raises(Undecodable, match="more than the 0 MB that are read"):
        read(file)


def test_a_glimpse_changes_nothing_for_other_threads() -> None:
    content = packed(noise(200, 200), "PNG")
    half, strict = content[: len(content) // 2], []

    def decode_again() -> None:
        for _ in range(40):
            try:
                decode(half)
            except Undecodable:
                continue
            strict.append("a truncated file was decoded")

    threads = [threading.Thread(target=decode_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        seen = glimpse(half, 20)
        assert seen is not None
    for thread in threads:
        thread.join()
    assert not strict
    assert seen[:, :8].std() > 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_what_is_there_of_a_truncated_file_is_seen(kind: str) -> None:
    content = packed(noise(80, 80).resize((400, 400)), kind)
    seen, whole = glimpse(content[: len(content) // 2], 40), decode(content, size=40)
    assert seen is not None
    assert np.abs(seen[:, :10].astype(int) - whole[:, :10]).mean() < 25
    assert glimpse(b"nothing", 8) is None


def test_large_images_are_decoded_one_at_a_time_also_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(noise(50, 50), "PNG")
    monkeypatch.setattr(DECODER, "_ALONE", 0)
    assert decode(content).shape == (3, 50, 50)
    with DECODER._one_at_a_time:
        child = os.fork()
        if not child:
            os._exit(0 if decode(content).shape == (3, 50, 50) else 1)
    assert os.waitpid(child, 0)[1] == 0
