from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_files import BAD, GOOD, noise, packed, solid

from cutaway.data import Undecodable, decode, load_data
from cutaway.errors import InputError


def fill(folder: Path, count: int, first_seed: int, size: int = 12) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(packed(noise(size, size, seed=first_seed + number), "PNG"))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    for label, name in enumerate(("1-甲", "2-乙", "10-癸")):
        fill(tmp_path / "faces" / name, 20, 1000 * label)
    return tmp_path / "faces"


def test_a_folder_of_classes(faces: Path) -> None:
    data = load_data(faces)
    assert data.classes == ("甲", "乙", "癸")
    assert data.name == "faces"
    assert data.shape == (3, 12, 12)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    for name, split in data.splits.items():
        assert split.name == name
        assert split.labels.dtype == np.int64
        assert np.bincount(split.labels).tolist() == [len(split) // 3] * 3
        for file, label in zip(split.files or (), split.labels, strict=True):
            assert file.startswith(("1-甲/", "2-乙/", "10-癸/")[label])
    assert data.notes == ()
    assert data.quarantine == ()


def test_the_same_whatever_the_order_of_the_disk(faces: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = load_data(faces)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(scandir(path))))
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "other"))
    assert load_data(faces).fingerprint == one.fingerprint


def test_batches(faces: Path) -> None:
    split = load_data(faces).splits["train"]
    order = np.array([5, 3, 40, 0, 47])
    found = list(split.batches(order, 2))
    assert [len(batch.ids) for batch in found] == [2, 2, 1]
    assert torch.cat([batch.ids for batch in found]).tolist() == order.tolist()
    images = torch.cat([batch.images for batch in found])
    assert images.dtype == torch.uint8
    assert torch.cat([batch.labels for batch in found]).tolist() == split.labels[order].tolist()
    assert (images.numpy() == np.stack([decode(faces / (split.files or ())[row]) for row in order])).all()


def test_every_odd_file_in_one_folder(tmp_path: Path) -> None:
    """All the bad kinds are quarantined with their reasons, all the good kinds load, and so does the rest."""
    for name in ("a", "b"):
        fill(tmp_path / "set" / name, 10, 0 if name == "a" else 500)
    for name, (make, _) in {**GOOD, **BAD}.items():
        (tmp_path / "set" / "a" / name).write_bytes(make())
    (tmp_path / "set" / "b" / "link.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "set" / "b" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "set" / "b" / "pipe.jpg")
    (Path(os.fsencode(tmp_path).decode()) / "set" / "b" / os.fsdecode(b"\xe9.jpg")).write_bytes(packed(noise(), "PNG"))
    expected = {f"a/{name}": reason for name, (_, reason) in BAD.items()}
    expected |= {
        "b/link.jpg": "broken symbolic link",
        "b/pipe.jpg": "not a regular file",
        "b/\\udce9.jpg": "not valid UTF-8",
    }

    data = load_data(tmp_path / "set", size=12, max_bad=0.9)
    assert {item.file for item in data.quarantine} == set(expected)
    for item in data.quarantine:
        assert re.search(expected[item.file], item.reason), item
    files = {file for split in data.splits.values() for file in split.files or ()}
    assert files == {f"{name}/{number}.png" for name in "ab" for number in range(10)} | {f"a/{name}" for name in GOOD}
    assert json.loads(json.dumps(data.describe()))["quarantine"][0].keys() == {"file", "reason"}


def test_a_share_of_bad_files_is_borne_and_more_is_refused(faces: Path) -> None:
    for number in range(3):
        (faces / "2-乙" / f"bad{number}.jpg").write_bytes(b"" if number else b"<html>")
    data = load_data(faces)
    assert [item.file for item in data.quarantine] == [f"2-乙/bad{number}.jpg" for number in range(3)]
    (faces / "2-乙" / "bad4.jpg").write_bytes(b"")
    message = (
        r"4 of 64 files \(6.2%\) cannot be decoded, more than 5.0% \(3 x the file is empty; 1 x an HTML page, "
        r"not an image\); repair or remove them, or raise --max-bad"
    )
    with pytest.raises(InputError, match=message):
        load_data(faces)
    assert len(load_data(faces, max_bad=0.07).quarantine) == 4


def test_mixed_sizes_become_the_median_square_and_it_is_said(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 100)):
        fill(tmp_path / "set" / name, 6, seed, size=20)
        fill(tmp_path / "set" / name / "more", 3, seed + 50, size=31)
    data = load_data(tmp_path / "set")
    assert data.shape == (3, 20, 20)
    assert data.notes == ("images of 2 sizes were resized to 20x20",)
    assert load_data(tmp_path / "set", size=9).notes == ("images of 2 sizes were resized to 9x9",)


def test_one_size_stays_and_a_large_one_is_bounded(tmp_path: Path) -> None:
    for name, start in (("small", 0), ("large", 50)):
        for label in "ab":
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for number in range(3):
                level = start + number + (20 if label == "a" else 0)
                size = (18, 10) if name == "small" else (600, 448)
                (folder / f"{number}.png").write_bytes(packed(solid("L", level, size), "PNG"))
    assert load_data(tmp_path / "small").shape == (1, 10, 18)
    assert load_data(tmp_path / "small", channels=3).shape == (3, 10, 18)
    large = load_data(tmp_path / "large")
    assert large.shape == (1, 224, 300)
    assert large.notes == ("images of 448x600 were resized to 224x300",)


def make_splits(root: Path, *names: str, count: int = 20) -> Path:
    for turn, split in enumerate(names):
        for label, name in enumerate("ab"):
            fill(root / split / name, count, 10_000 * turn + 1000 * label)
    return root


def test_train_and_test_folders_get_a_validation_split(tmp_path: Path) -> None:
    data = load_data(make_splits(tmp_path / "set", "train", "test"))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 4, "test": 40}
    assert all(file.startswith("train/") for file in data.splits["val"].files or ())
    larger = load_data(tmp_path / "set", val=0.25)
    assert len(larger.splits["val"]) == 10
    assert load_data(tmp_path / "set", split_seed=1).splits["val"].files != data.splits["val"].files


def test_three_folders_are_taken_as_they_are_and_test_may_be_missing(tmp_path: Path) -> None:
    data = load_data(make_splits(tmp_path / "three", "train", "valid", "test", count=5))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "val": 10, "test": 10}
    data = load_data(make_splits(tmp_path / "two", "train", "val", count=5))
    assert list(data.splits) == ["train", "val"]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("train", "val", "test"), {"val": 0.2}, "has its own val/; leave the val share out"),
        (("train", "test"), {"test": 0.2}, "has its own test/; leave the test share out"),
        (("train", "val"), {"test": 0.2}, "a test share is only for folders without splits"),
    ],
)
def test_a_share_of_a_split_that_is_there(
    tmp_path: Path, names: tuple[str, ...], options: dict[str, float], message: str
) -> None:
    make_splits(tmp_path / "set", *names, count=4)
    with pytest.raises(InputError, match=message):
        load_data(tmp_path / "set", **options)  # type: ignore[arg-type] # the keys are names of shares


def test_shared_images_are_told(tmp_path: Path) -> None:
    root = make_splits(tmp_path / "set", "train", "test", count=12)
    for number in range(2):
        content = (root / "train" / "a" / f"{number}.png").read_bytes()
        (root / "test" / "a" / f"{number}.png").write_bytes(content)
    (root / "train" / "b" / "0.png").write_bytes((root / "train" / "a" / "5.png").read_bytes())
    notes = load_data(root).notes
    assert notes[0] == "1 distinct images are filed under more than one class"
    assert re.fullmatch(r"[12] of 24 test images are in train too, to the last pixel", notes[1])


def test_a_class_whose_only_images_are_bad(tmp_path: Path) -> None:
    root = make_splits(tmp_path / "set", "train", "test", count=5)
    for file in (root / "test" / "b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="test/ has no readable image of class 'b'; add some to every split"):
        load_data(root, max_bad=0.5)


def test_no_readable_image(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.jpg").write_bytes(b"hello")
    for options in ({}, {"size": 8, "channels": 3}):
        with pytest.raises(InputError, match="has no readable image: 2 files tried; 2 x a text file, not an image"):
            load_data(tmp_path / "set", max_bad=1.0, **options)  # type: ignore[arg-type] # size and channels


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fashon-mnist", "data set 'fashon-mnist' is not a folder here nor built in; the nearest are 'fashion-mnist'"),
        (
            "no/such/folder",
            "there is no folder no/such/folder; name a folder of images, or one of fashion-mnist, mnist",
        ),
        (Path("shapes"), "there is no folder shapes"),
    ],
)
def test_a_source_that_is_none(source: str | Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(source)


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(InputError, match="is a file; a data set is a folder of class folders"):
        load_data(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "1 to 4096 pixels; found 0"),
        ({"channels": 4}, "1 .grey. or 3 .colour.; found 4"),
        ({"val": 1.0}, "val share is more than 0 and less than 1; found 1.0"),
        ({"test": 0.0}, "test share is more than 0 and less than 1; found 0.0"),
        ({"val": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"max_bad": 2}, "a share from 0 to 1; found 2"),
    ],
)
def test_options_out_of_range(faces: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(faces, **options)  # type: ignore[arg-type] # wrong on purpose


def test_describe_tells_how_to_load_it_again(faces: Path) -> None:
    data = load_data(faces, size=8, val=0.2, split_seed=3)
    record = json.loads(json.dumps(data.describe()))
    assert record["classes"] == ["甲", "乙", "癸"]
    assert record["shape"] == [3, 8, 8]
    assert record["splits"]["val"] == {"size": 12, "fingerprint": data.splits["val"].fingerprint}
    again = load_data(record["source"], **record["options"])
    assert again.fingerprint == record["fingerprint"] == data.fingerprint
    assert load_data(faces, size=8, val=0.2, split_seed=4).fingerprint != data.fingerprint


def test_undecodable_is_a_value_error() -> None:
    assert issubclass(Undecodable, ValueError)
