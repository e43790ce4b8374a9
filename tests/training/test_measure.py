from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cutaway.training.measure import (
    Predictions,
    bootstrap_interval,
    calibration,
    confusion_matrix,
    report,
    top_k_accuracy,
)


def one_hot_predictions(predicted: list[int], true: list[int], classes: int, sure: float = 5.0) -> Predictions:
    logits = torch.zeros(len(true), classes)
    logits[torch.arange(len(true)), torch.tensor(predicted)] = sure
    return Predictions(logits, torch.tensor(true))


def test_confusion_and_class_figures_by_hand() -> None:
    found = one_hot_predictions([0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 2], 3)
    assert confusion_matrix(found, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    rows = report(found, ("a", "b", "c"))["classes"]
    assert rows[0] == {"class": "a", "images": 3, "precision": 2 / 3, "recall": 2 / 3}
    assert rows[1] == {"class": "b", "images": 2, "precision": 2 / 3, "recall": 1.0}
    assert rows[2] == {"class": "c", "images": 1, "precision": None, "recall": 0.0}


def test_accuracy_and_loss_by_hand() -> None:
    found = one_hot_predictions([0, 1], [0, 0], 2, sure=math.log(3))
    assert found.accuracy == 0.5
    # Probabilities 3/4 and 1/4 of the right class.
    assert found.loss == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


def test_top_k_against_sorting() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 8, generator=generator), torch.randint(0, 8, (50,), generator=generator)
    slow = np.mean(
        [
            label in sorted(range(8), key=lambda c: -row[c])[:5]
            for row, label in zip(logits, labels.tolist(), strict=True)
        ]
    )
    assert top_k_accuracy(Predictions(logits, labels), 5) == pytest.approx(slow)


def test_calibration_against_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    found = Predictions(torch.randn(200, 4, generator=generator) * 2, torch.randint(0, 4, (200,), generator=generator))
    error = 0.0
    for low in range(15):
        inside = []
        for logits, label in zip(found.logits, found.labels.tolist(), strict=True):
            shares = torch.softmax(logits, 0)
            if low / 15 <= shares.max() < (low + 1) / 15 or (low == 14 and shares.max() == 1):
                inside.append((float(shares.max()), float(shares.argmax() == label)))
        if inside:
            confidence, right = np.mean(inside, axis=0)
            error += len(inside) / 200 * abs(confidence - right)
    assert calibration(found)["error"] == pytest.approx(error, abs=1e-6)


def test_a_sure_and_right_network_is_calibrated() -> None:
    found = one_hot_predictions([0, 1, 2], [0, 1, 2], 3, sure=50.0)
    assert calibration(found)["error"] == pytest.approx(0, abs=1e-6)


def test_bootstrap_interval_matches_the_normal_approximation() -> None:
    correct = np.arange(10_000) % 10 != 0
    low, high = bootstrap_interval(correct)
    half = 1.96 * math.sqrt(0.9 * 0.1 / 10_000)
    assert low == pytest.approx(0.9 - half, abs=5e-4)
    assert high == pytest.approx(0.9 + half, abs=5e-4)
    assert bootstrap_interval(correct) == (low, high)


def test_report_is_plain_data_and_names_its_size() -> None:
    import json

    found = report(one_hot_predictions([0] * 7, [0] * 7, 7), [str(n) for n in range(7)])
    assert found["size"] == 7
    assert found["top5"] == 1.0
    assert json.loads(json.dumps(found)) == found
