from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from odd_files import noise, packed

from cutaway.data import cache as cache_module
from cutaway.data import decode, load_data, parallel, sample_order, stores
from cutaway.data.stores import MappedImages, StreamedImages, pixel_hash
from cutaway.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twelve images of 24 by 24, no two alike."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            content = packed(noise(seed=100 * label + number), "PNG")
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(content)
    return tmp_path / "photos"


class Counter:
    """Counts what was done, by the labels of the progress."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        assert 0 < done <= total
        self.done[label] = done


def built(folder: Path, cache: Path) -> list[str]:
    return sorted(str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file())


def test_the_cache_holds_what_the_decoder_gives(photos: Path) -> None:
    data = load_data(photos)
    for split in data.splits.values():
        assert split.files is not None
        assert isinstance(split.images, MappedImages)
        for row, file in enumerate(split.files):
            assert (split.images[[row]][0] == decode(photos / file)).all()
            assert split.hashes[row] == pixel_hash(decode(photos / file))


def test_the_second_start_reads_no_file(photos: Path) -> None:
    first, second = Counter(), Counter()
    one = load_data(photos, progress=first)
    two = load_data(photos, progress=second)
    assert first.done == {"reading": 24, "measuring": 24, "decoding": 24}
    assert second.done == {}
    assert one.fingerprint == two.fingerprint


def test_a_touched_or_copied_folder_is_read_and_not_decoded(photos: Path, tmp_path: Path) -> None:
    one = load_data(photos)
    for file in photos.rglob("*.png"):
        os.utime(file, (1, 1))
    shutil.copytree(photos, tmp_path / "copy")
    for folder in (photos, tmp_path / "copy"):
        seen = Counter()
        assert load_data(folder, progress=seen).fingerprint == one.fingerprint
        assert seen.done == {"reading": 24}


def test_a_changed_file_is_decoded_though_size_and_date_are_the_same(photos: Path) -> None:
    one = load_data(photos)
    file = photos / "cat" / "3.png"
    date, content = file.stat().st_mtime_ns, file.read_bytes()
    other = packed(noise(seed=999), "PNG")
    file.write_bytes(other.ljust(len(content), b"\0"))
    os.utime(file, ns=(date, date))
    assert load_data(photos).fingerprint != one.fingerprint


def test_another_size_is_another_entry(photos: Path) -> None:
    assert load_data(photos, size=8).shape == (3, 8, 8)
    assert load_data(photos, size=8, channels=1).shape == (1, 8, 8)
    assert load_data(photos).shape == (3, 24, 24)


def test_a_file_that_changes_while_it_is_read_is_never_kept_under_its_old_content(photos: Path) -> None:
    file = photos / "cat" / "3.png"
    before, after = file.read_bytes(), packed(noise(seed=999), "PNG")

    def once(label: str, done: int, total: int) -> None:
        if label == "measuring" and done == total and file.read_bytes() == before:
            file.write_bytes(after)

    load_data(photos, progress=once)
    file.write_bytes(before)
    data = load_data(photos)
    for split in data.splits.values():
        for row, name in enumerate(split.files or ()):
            assert (split.images[[row]][0] == decode(photos / name)).all()


def test_a_folder_that_never_stops_changing_is_refused(photos: Path) -> None:
    file, count = photos / "cat" / "3.png", iter(range(99))

    def always(label: str, done: int, total: int) -> None:
        if label == "measuring" and done == total:
            file.write_bytes(packed(noise(seed=1000 + next(count)), "PNG"))

    with pytest.raises(InputError, match="changes while it is read; wait until"):
        load_data(photos, progress=always)


def test_files_that_vanish_between_listing_and_decoding_are_left_out(photos: Path) -> None:
    def remove(label: str, done: int, total: int) -> None:
        if label == "reading" and done == total:
            (photos / "cat" / "3.png").unlink(missing_ok=True)

    assert load_data(photos, progress=remove).quarantine == (("cat/3.png", "the file does not exist"),)


def test_an_interrupted_build_leaves_nothing_that_counts(photos: Path, cache: Path) -> None:
    def interrupt(label: str, done: int, total: int) -> None:
        if label == "decoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_data(photos, progress=interrupt)
    assert built(photos, cache) == []
    assert len(load_data(photos).splits["train"]) == 20


def test_a_killed_build_is_made_again(photos: Path, cache: Path) -> None:
    script = (
        "import os, signal, sys; from cutaway.data import load_data\n"
        "def kill(label, done, total):\n"
        "    if label == 'decoding': os.kill(os.getpid(), signal.SIGKILL)\n"
        "load_data(sys.argv[1], progress=kill)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(photos)], check=False)
    assert result.returncode == -signal.SIGKILL
    left = list(cache.rglob("*.tmp"))
    assert left
    for file in left:
        os.utime(file, (time.time() - 7200,) * 2)
    data = load_data(photos)
    assert (data.splits["val"].images[[0]][0] == decode(photos / (data.splits["val"].files or ("",))[0])).all()
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("file", ["pixels.npy", "hashes.npy", "index.json"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-10], lambda content: b"", lambda content: bytes(len(content))]
)
def test_a_damaged_cache_is_made_again(photos: Path, cache: Path, file: str, damage: Callable[[bytes], bytes]) -> None:
    one = load_data(photos)
    (path,) = cache.glob(f"images/*/{file}")
    path.write_bytes(damage(path.read_bytes()))
    assert load_data(photos).fingerprint == one.fingerprint


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", bytes(20)])
def test_a_damaged_note_is_made_again(photos: Path, cache: Path, damage: bytes) -> None:
    one = load_data(photos)
    (note,) = cache.glob("lookups/*.json")
    note.write_bytes(damage)
    assert load_data(photos).fingerprint == one.fingerprint


def batches(split: Any, epochs: int = 2) -> list[Any]:
    orders = [sample_order(len(split), 0, epoch) for epoch in range(epochs)]
    return [batch for order in orders for batch in split.batches(order, 3)]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_streamed_images_are_the_cached_ones(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str
) -> None:
    cached = load_data(photos)
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "0")
    monkeypatch.setattr(parallel.sys, "platform", platform)
    streamed = load_data(photos)
    assert isinstance(streamed.splits["train"].images, StreamedImages)
    assert not list((tmp_path / "other").rglob("pixels.npy"))
    assert streamed.fingerprint == cached.fingerprint
    for name, split in streamed.splits.items():
        pairs = list(zip(batches(split), batches(cached.splits[name]), strict=True))
        for ours, theirs in pairs:
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        rows = np.array([1, 0, 1])
        assert (split.images[rows] == cached.splits[name].images[rows]).all()
    second = Counter()
    load_data(photos, progress=second)
    assert second.done == {}


def test_streaming_leaves_the_random_state_alone(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "0")
    data = load_data(photos)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches(data.splits["train"])
    assert torch.equal(torch.rand(3), expected)


def test_with_room_a_streamed_set_is_cached(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "0")
    assert isinstance(load_data(photos).splits["train"].images, StreamedImages)
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "1")
    assert isinstance(load_data(photos).splits["train"].images, MappedImages)


def test_a_file_that_goes_away_in_mid_stream_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "0")
    train = load_data(photos).splits["train"]
    (photos / (train.files or ("",))[5]).unlink()
    with pytest.raises(InputError, match=r"was readable when the data set was opened .*the file does not exist"):
        batches(train, 1)


def test_a_limit_that_is_no_number(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE_LIMIT_GB", "lots")
    with pytest.raises(InputError, match="is a number of gigabytes; found 'lots'"):
        load_data(photos)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_npy", full)
    with pytest.raises(InputError, match="the disk is full"):
        load_data(photos)
    assert built(photos, cache) == []


def test_pages_are_given_back(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages given back after every gather, what is read stays right."""
    monkeypatch.setattr(stores, "_DROP_AFTER", 0)
    train = load_data(photos).splits["train"]
    expected = np.stack([decode(photos / file) for file in train.files or ()])
    for _ in range(3):
        assert (train.images[np.arange(len(train))] == expected).all()


def test_a_store_is_indexed_like_an_array(photos: Path) -> None:
    images = load_data(photos).splits["train"].images
    whole = images[:]
    assert images.shape == whole.shape == (20, 3, 24, 24)
    assert (images[2:5] == whole[2:5]).all()
    assert (images[[3, 3, 1]] == whole[[3, 3, 1]]).all()
    assert (images.select(np.array([4, 2]))[[1]] == whole[[2]]).all()
    assert images[np.array([], dtype=np.int64)].shape == (0, 3, 24, 24)
    assert images[[0, 2]].flags.c_contiguous


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_parallel_results_come_in_order(monkeypatch: pytest.MonkeyPatch, platform: str, count: int) -> None:
    monkeypatch.setattr(parallel.sys, "platform", platform)
    assert list(parallel.each(str, range(count))) == [str(item) for item in range(count)]
