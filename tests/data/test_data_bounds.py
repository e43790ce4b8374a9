"""What a file could take is known before it is taken."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from odd_files import noise, packed, png_of
from PIL import Image, ImageFile

from cutaway.care.faces.detector import Face, _is_sane
from cutaway.care.faces.geometry import Frame, cut
from cutaway.care.faces.photograph import fits
from cutaway.care.faces.settings import Settings
from cutaway.data import Undecodable, decode
from cutaway.data.cost import ROOM, needed
from cutaway.data.decode import MAX_BYTES, fit, glimpse, probe, shrunk, to_array, to_mode, turn
from cutaway.data.readers import Unusable, read_idx


def test_a_giant_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "giant.png").open("wb") as file:
        file.truncate(20 * 10**9)  # sparse: it takes no room on the disk
    with pytest.raises(Undecodable, match=r"20,000 MB, more than the 256 MB that are read"):
        decode(tmp_path / "giant.png")
    with pytest.raises(Undecodable, match="more than the 256 MB that are read"):
        decode(Endless())  # type: ignore[arg-type]  # it reads, which is all that is asked of it


class Endless:
    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= MAX_BYTES + 1
        return bytes(size)


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/proc/kmsg", "/proc/self/environ", "/dev/stdin"])
def test_what_has_no_end_is_not_waited_for(tmp_path: Path, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here")
    (tmp_path / "link.png").symlink_to(path)
    for file in (path, tmp_path / "link.png"):
        with pytest.raises(Undecodable):
            decode(file)


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    content = packed(Image.new("L", (8, 8)), "WEBP", lossless=True)
    assert decode(content, size=4).shape == (3, 4, 4)
    with pytest.raises(Undecodable, match=r"would take 1\.7 GB to decode, more than the 1\.0 GB that are allowed"):
        decode(png_of(13_000, 13_000))  # as it is; wanted small, it would not be refused for that


def test_what_is_reckoned_grows_with_the_pixels() -> None:
    with Image.open(io.BytesIO(packed(noise(40, 30), "PNG"))) as image:
        small, whole = (needed(image, b"", whole=whole) for whole in (False, True))
        assert (small - 16_000_000, whole - 16_000_000) == (40 * 30 * 4, 40 * 30 * 10)
        assert small < ROOM


def test_a_jpeg_of_hundreds_of_scans_is_refused() -> None:
    content = bytearray(packed(noise(64, 64), "JPEG", progressive=True))
    assert decode(bytes(content)).shape == (3, 64, 64)
    place = content.index(b"\xff\xda")
    bomb = bytes(content[:place]) + b"\xff\xda\0\2" * 1_000_000 + bytes(content[place:])
    with pytest.raises(Undecodable, match=r"a JPEG of 1,?0000\d\d scans"):
        decode(bomb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "1", "P", "keyed", "I;16", "F"])
def test_a_large_picture_is_shrunk_before_it_is_converted(
    kind: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To within a few levels of converting all of it first, which is what it saves."""
    monkeypatch.setattr(sys.modules["cutaway.data.decode"], "_LARGE", 10_000)
    y, x = np.mgrid[:240, :320]
    smooth = np.stack([x * 255 // 320, y * 255 // 240, (x + y) * 255 // 560], axis=2).astype(np.uint8)
    image = Image.fromarray(smooth)
    if kind == "RGBA":
        image.putalpha(Image.fromarray((x * 255 // 320).astype(np.uint8)))
    elif kind == "keyed":
        image.info["transparency"] = (0, 0, 0)
    elif kind == "I;16":
        image = Image.fromarray((x * 65535 // 320).astype(np.uint16))
    elif kind == "F":
        image = Image.fromarray((x / 320).astype(np.float32))
    elif kind != "RGB":
        image = image.convert(kind)
    wanted = (20, 30)
    usual = to_array(fit(to_mode(turn(image, orientation), "RGB"), wanted))
    small = shrunk(image, wanted, "RGB", orientation)
    assert small.width * small.height < image.width * image.height / 8
    found = to_array(fit(turn(small, orientation), wanted))
    assert np.abs(found.astype(int) - usual).mean() < (12 if kind in ("1", "P") else 2)


def test_ordinary_pictures_are_not_touched_by_it() -> None:
    image = noise(300, 400)
    assert shrunk(image, (8, 8), "RGB", 1) is image
    assert shrunk(image, None, "RGB", 1) is image


def test_a_turned_tiff_has_the_size_that_it_is_seen_in() -> None:
    """Upright pictures became lying ones, cut and enlarged, because Pillow tells a TIFF's size as it is turned."""
    for kind in ("TIFF", "JPEG", "PNG"):
        exif = Image.Exif()
        exif[0x0112] = 6
        content = packed(noise(20, 40), kind, exif=exif)
        assert (probe(content).height, probe(content).width) == decode(content).shape[1:] == (40, 20)


def test_a_glimpse_makes_no_other_thread_lenient() -> None:
    """Pillow's switch for truncated files is one for all threads: a damaged image could have become a good one."""
    half = packed(noise(64, 64), "PNG")[:6000]
    stop, wrong = threading.Event(), list[object]()

    def look() -> None:
        while not stop.is_set():
            if glimpse(half, 16) is None:
                wrong.append("nothing seen")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(300):
            with pytest.raises(Undecodable):
                decode(half)
    finally:
        stop.set()
        watcher.join()
    assert not wrong
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_packed_file_that_grows_without_end(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(260):
            file.write(bytes(1_000_000))
    with pytest.raises(Unusable, match=r"holds more than 256,000,000 bytes"):
        read_idx(path)


@pytest.mark.parametrize(
    ("box", "eyes", "sane"),
    [
        ((10.0, 10.0, 50.0, 60.0), ((25.0, 30.0), (45.0, 30.0)), True),
        ((-20.0, 10.0, 50.0, 60.0), ((-5.0, 30.0), (15.0, 30.0)), True),  # cut by the frame
        ((10.0, 10.0, 5000.0, 60.0), ((25.0, 30.0), (45.0, 30.0)), False),
        ((10.0, 10.0, 50.0, 60.0), ((25.0, 30.0), (9e9, 30.0)), False),
        ((500.0, 10.0, 50.0, 60.0), ((525.0, 30.0), (545.0, 30.0)), False),
        ((10.0, 10.0, 0.0, 0.0), ((10.0, 10.0), (10.0, 10.0)), False),
    ],
)
def test_what_a_detector_says_is_held_against_the_photograph(
    box: tuple[float, float, float, float], eyes: tuple[tuple[float, float], tuple[float, float]], sane: bool
) -> None:
    face = Face(box, eyes, (eyes[0][0] + 10, eyes[0][1] + 25), 0.9)
    assert _is_sane(face, 100, 200) is sane


def test_no_cut_is_larger_than_what_lies_around_the_photograph() -> None:
    giant = Face((0.0, 0.0, 10.0, 10.0), ((0.0, 0.0), (1.0, 0.0)), (0.5, 9_000.0), 0.9)
    assert not fits(giant, Settings(), (10, 1000))
    with pytest.raises(ValueError, match="does not lie in a picture"):
        cut(np.zeros((3, 10, 1000), np.uint8), Frame(0, 0, 1e7, 0), 112)
