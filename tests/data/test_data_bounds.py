"""What a file could take is known before it is taken."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest
from odd_files import noise, packed
from PIL import Image, ImageFile

from cutaway.data import Undecodable, decode
from cutaway.data.cost import MOST_BYTES
from cutaway.data.decode import glimpse, probe
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
        assert 0 < size <= MOST_BYTES + 1
        return bytes(size)


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/proc/kmsg", "/proc/self/environ", "/dev/stdin"])
def test_what_has_no_end_is_not_waited_for(tmp_path: Path, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here")
    (tmp_path / "link.png").symlink_to(path)
    for file in (path, tmp_path / "link.png"):
        with pytest.raises(Undecodable):
            decode(file)


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
