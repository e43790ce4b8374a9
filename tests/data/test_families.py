"""Near duplicates kept in one split: in folders, in built-in sets, whatever the order, and remembered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutaway.data import Split, load_data
from cutaway.data import families as module
from cutaway.data.families import families
from cutaway.data.stores import ArrayImages
from cutaway.errors import InputError


def picture(seed: int) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((48, 48), Image.Resampling.NEAREST)


def with_near_copies(folder: Path, count: int = 30) -> Path:
    """Two classes in which every picture is there three times: plain, darker, and compressed."""
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            one = picture(1000 * (label == "b") + number)
            one.save(folder / label / f"{number}.png")
            one.point(lambda value: round(0.9 * value)).save(folder / label / f"{number}-dark.png")
            one.save(folder / label / f"{number}-small.jpg", quality=70)
    return folder


def homes(folder: Path, keep_together: bool) -> list[set[str]]:
    """For every picture the splits that its versions lie in."""
    found: dict[str, set[str]] = {}
    for name, split in load_data(folder, keep_together=keep_together).splits.items():
        for file in split.files or ():
            found.setdefault(file.partition(".")[0].partition("-")[0], set()).add(name)
    return list(found.values())


def test_near_copies_stay_in_one_split_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = with_near_copies(tmp_path / "photos")
    assert max(map(len, homes(folder, keep_together=False))) > 1
    assert all(len(home) == 1 for home in homes(folder, keep_together=True))


def test_it_is_an_option_of_the_data_and_says_what_it_did(tmp_path: Path) -> None:
    data = load_data(with_near_copies(tmp_path / "photos"), keep_together=True)
    assert data.notes == ("180 images have near duplicates: 60 families of up to 3, each in one split",)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 144, "val": 18, "test": 18}
    again = load_data(data.source, **data.options)
    assert again.fingerprint == data.fingerprint
    assert load_data(data.source).fingerprint != data.fingerprint
    assert "keep_together" not in load_data(data.source).options


def a_split(order: np.ndarray) -> Split:
    pixels = [np.asarray(picture(seed)).transpose(2, 0, 1) for seed in range(20)]
    darker = [(0.9 * image).astype(np.uint8) for image in pixels[:5]]
    images = np.stack([*pixels, *darker, pixels[7]])
    return Split("train", ArrayImages(images[order]), np.zeros(len(images), np.int64))


def test_the_order_of_the_images_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(26)
    plain, shuffled = families(a_split(np.arange(26))), families(a_split(order))
    assert np.array_equal(plain[order], shuffled)
    assert np.array_equal(plain[:5], plain[20:25])
    assert plain[7] == plain[25]
    assert len(set(plain.tolist())) == 20


def test_they_are_found_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = families(a_split(np.arange(26)))
    (kept,) = (cache / "families").iterdir()
    with monkeypatch.context() as patch:
        patch.delattr(module, "measure")
        assert np.array_equal(families(a_split(np.arange(26))), first)
    kept.write_bytes(kept.read_bytes()[:40])
    assert np.array_equal(families(a_split(np.arange(26))), first)


def test_where_no_split_is_made_nothing_can_be_kept_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.data.shapes.SIZES", {"train": 60, "val": 20, "test": 20})
    with pytest.raises(InputError, match="shapes comes with all its splits, and none is made here"):
        load_data("shapes", size=16, keep_together=True)


def test_given_splits_are_left_alone(tmp_path: Path) -> None:
    for split in ("train", "test"):
        with_near_copies(tmp_path / "photos" / split, count=10)
    data = load_data(tmp_path / "photos", keep_together=True)
    files = {name: {str(file).rpartition("/")[2] for file in split.files or ()} for name, split in data.splits.items()}
    assert files["train"] | files["val"] == files["test"]
    assert data.given == ("train", "test")
