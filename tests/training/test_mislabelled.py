"""Labels that were changed by hand are found; cleanlab is optional."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from cutaway.data import Split
from cutaway.data.stores import ArrayImages
from cutaway.training.measure import Predictions
from cutaway.training.mislabelled import label_issues

CLASSES = ("cat", "dog", "frog")


def answered(wrong: int) -> tuple[Predictions, Split, set[int]]:
    """300 images that a good network answers by their true class; the labels of some were changed."""
    random = np.random.default_rng(0)
    true = np.arange(300) % 3
    logits = random.normal(size=(300, 3)) + 6 * np.eye(3)[true]
    changed = random.choice(300, wrong, replace=False)
    labels = true.copy()
    labels[changed] = (true[changed] + 1) % 3
    files = tuple(f"{CLASSES[label]}/{place}.png" for place, label in enumerate(labels))
    split = Split("test", ArrayImages(np.zeros((300, 1, 2, 2), np.uint8)), labels, files)
    return Predictions(torch.from_numpy(logits).float(), torch.from_numpy(labels)), split, set(changed.tolist())


def test_labels_that_were_changed_are_found() -> None:
    pytest.importorskip("cleanlab")
    predictions, split, changed = answered(12)
    issues = label_issues(predictions, split, CLASSES)
    assert issues is not None
    places = [int(issue["image"].removeprefix("test:")) for issue in issues]
    assert changed <= set(places)
    assert len(places) <= len(changed) + 2
    assert [issue["confidence"] for issue in issues] == sorted(issue["confidence"] for issue in issues)
    for place, issue in zip(places, issues, strict=True):
        shares = predictions.logits[place].double().softmax(0)
        assert issue["file"] == (split.files or ())[place]
        assert issue["label"] == CLASSES[split.labels[place]]
        assert issue["answer"] == CLASSES[int(shares.argmax())]
        assert issue["confidence"] == pytest.approx(float(shares[split.labels[place]]), rel=0.01)


def test_a_split_without_a_mistake_has_no_issue() -> None:
    pytest.importorskip("cleanlab")
    predictions, split, _ = answered(0)
    right = Predictions(torch.eye(3)[torch.arange(300) % 3] * 6, predictions.labels)
    assert label_issues(right, split, CLASSES) == []


def test_a_class_that_does_not_occur_is_no_trouble(recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("cleanlab")
    predictions, split, _ = answered(0)
    few = Predictions(predictions.logits[:1], predictions.labels[:1])
    assert label_issues(few, split, CLASSES) == []
    assert not recwarn.list


def test_without_cleanlab_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "cutaway.training.mislabelled.find_spec", lambda name: None if name == "cleanlab" else find(name)
    )
    predictions, split, _ = answered(12)
    assert label_issues(predictions, split, CLASSES) is None
