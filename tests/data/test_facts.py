"""What is known of a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutaway.data import load_data
from cutaway.data.facts import data_facts, label_control


def labelled(count: int, shuffled: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that show their class as one of four bright corners; labels in their place or shuffled."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.normal(0, 1, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 3
    return images, generator.permutation(labels) if shuffled else labels


def test_neighbours_tell_labels_that_fit_and_not_those_that_are_shuffled() -> None:
    good, bad = (label_control(*labelled(400, shuffled)) for shuffled in (False, True))
    assert good["accuracy"] > 0.95
    assert abs(bad["accuracy"] - bad["chance"]) < 3 * bad["deviation"]
    assert good["chance"] == pytest.approx(0.25, abs=0.03)


def test_the_control_is_the_vote_of_the_five_nearest() -> None:
    images, labels = labelled(60, shuffled=False, seed=3)
    flat = images.reshape(60, -1)
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    hits = 0
    for number in range(60):
        distances = [
            (float(((flat[number] - flat[other]) ** 2).sum()), other) for other in range(60) if other != number
        ]
        votes = [int(labels[other]) for _, other in sorted(distances)[:5]]
        hits += max(range(4), key=lambda label: (votes.count(label), -label)) == labels[number]
    assert label_control(images, labels)["accuracy"] == pytest.approx(hits / 60)


def test_copies_leaks_and_double_labels_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))
    generator, folder = np.random.default_rng(0), tmp_path / "photos"

    def write(place: str, pixels: np.ndarray) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / place)

    drawn = generator.integers(0, 256, (14, 8, 8, 3), dtype=np.uint8)
    for number in range(4):
        write(f"train/cat/{number}.png", drawn[number])
        write(f"train/dog/{number}.png", drawn[4 + number])
        write(f"test/cat/{number}.png", drawn[8 + number])
    write("train/cat/copy.png", drawn[0])
    write("train/dog/both.png", drawn[1])  # filed under cat too
    write("test/dog/leak.png", drawn[5])
    write("val/cat/0.png", drawn[12])
    write("val/dog/0.png", drawn[13])
    facts = data_facts(load_data(folder).splits, 2)
    assert facts["counts"] == {"train": [5, 5], "val": [1, 1], "test": [4, 1]}
    assert facts["distinct"]["train"] == 8
    assert facts["in_train"] == {"val": 0, "test": 1}
    assert facts["two_labels"] == 1
