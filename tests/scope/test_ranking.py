"""`Scope.rank`: each number is its measure's, the rule is what it says, and controls stand among the methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cutaway.errors import InputError
from cutaway.lenses import faithfulness
from cutaway.lenses.attribution import METHODS
from cutaway.models import Preprocessing
from cutaway.scope import Scope
from cutaway.scope.explanation import CHECK
from cutaway.scope.ranking import MEASURES, Ranked, control_maps, placed

SOME = ["saliency", "input-x-gradient", "grad-cam"]
CONTROLS = {"random pixels", "random blobs", "edges", "centre"}


def microscope(size: int = 12) -> Scope:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8 * (size - 2) ** 2, 3))
    return Scope(network, classes=["cat", "dog", "hen"], preprocessing=Preprocessing((1, size, size), (0.4,), (0.2,)))


def photographs(count: int = 2, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def test_each_number_is_that_of_its_measure() -> None:
    scope, pixels = microscope(), photographs()
    found = scope.rank(pixels, SOME, "dog", steps=6)
    row = next(row for row in found.rows if row.method == "input-x-gradient")
    explained = scope.explain(pixels, "input-x-gradient", "dog")
    given = (scope.network, scope.inputs(pixels).values, explained.attribution.heat(signed=True), found.target)
    assert torch.equal(row.heat, given[2])
    assert row.numbers["deletion"] == pytest.approx(float(faithfulness.deletion(*given, steps=6).area.mean()), abs=1e-6)
    assert row.numbers["insertion"] == pytest.approx(
        float(faithfulness.insertion(*given, steps=6).area.mean()), abs=1e-6
    )
    assert row.numbers["road"] == pytest.approx(float(faithfulness.road(*given).score.mean()), abs=1e-5)
    removals = faithfulness.removals(scope.network, given[1], found.target)
    assert row.numbers["sensitivity"] == pytest.approx(
        float(faithfulness.sensitivity(removals, given[2]).score.mean()), abs=1e-5
    )
    assert row.numbers["randomisation"] == pytest.approx(abs(explained.certificate.check[CHECK]), abs=1e-5)


def test_the_controls_are_ranked_with_the_methods_and_the_rule_is_the_mean_place() -> None:
    found = microscope().rank(photographs(), SOME, "dog", steps=4)
    assert {row.method for row in found.rows} == {*SOME, *CONTROLS}
    assert {row.method for row in found.rows if row.control} == CONTROLS
    assert [row.place for row in found.rows] == sorted(row.place for row in found.rows)
    for row in found.rows:
        places = []
        for name, larger in MEASURES.items():
            mine, *others = (round(one.numbers[name], 4) for one in (row, *found.rows))
            better = sum(value > mine if larger else value < mine for value in others)
            places.append(better + (sum(value == mine for value in others) + 1) / 2)
        assert row.place == pytest.approx(sum(places) / 5)
    assert found.best in SOME


def test_rows_by_hand() -> None:
    good = dict.fromkeys(MEASURES, 0.9) | {"deletion": 0.1, "randomisation": 0.0}
    bad = dict.fromkeys(MEASURES, 0.1) | {"deletion": 0.8, "randomisation": 0.0}
    rows = placed([Ranked("cam", reason="no maps"), Ranked("b", bad), Ranked("a", good)])
    assert [row.method for row in rows] == ["a", "b", "cam"]
    assert [row.place for row in rows] == [pytest.approx((1 + 1 + 1 + 1 + 1.5) / 5), pytest.approx(9.5 / 5), 0]


def test_numbers_that_differ_by_rounding_share_their_place() -> None:
    numbers = dict.fromkeys(MEASURES, 0.5)
    rows = placed([Ranked("b", numbers), Ranked("a", {name: value + 1e-7 for name, value in numbers.items()})])
    assert [(row.method, row.place) for row in rows] == [("a", 1.5), ("b", 1.5)]


def test_a_network_of_one_pixel_puts_its_gradient_before_every_control() -> None:
    """The score is one bright pixel: input x gradient is the perfect map, and the measures must say so."""

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = torch.zeros(2, 144)
            weight[1, 5 * 12 + 7] = 8
            self.weight = nn.Parameter(weight)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ self.weight.T

    images = torch.rand(2, 1, 12, 12)
    images[:, 0, 5, 7] = 1
    found = Scope(One()).rank(images, ["input-x-gradient"], 1)
    assert found.rows[0].method == found.best == "input-x-gradient"
    assert found.rows[0].numbers["sensitivity"] == pytest.approx(1, abs=1e-4)
    assert found.rows[0].place < found.rows[1].place


def test_a_method_that_cannot_be_applied_is_listed_with_its_sentence() -> None:
    found = microscope().rank(photographs(1), ["cam", "saliency"], "dog", steps=2)
    last = found.rows[-1]
    assert last.method == "cam"
    assert "global average pooling" in last.reason
    assert last.heat is None
    assert found.table()[-1] == {
        "method": "cam",
        "place": None,
        **dict.fromkeys(MEASURES),
        "seconds": None,
        "note": last.reason,
    }


def test_all_methods_by_default() -> None:
    found = microscope(8).rank(photographs(1, 8), target=0, steps=2)
    assert {row.method for row in found.rows if not row.control} == set(METHODS)


def test_the_table_the_sheet_and_the_files(tmp_path: Path) -> None:
    found = microscope().rank(photographs(2), SOME, steps=2)
    assert list(found.pictures()) == ["methods image 0", "methods image 1"]
    assert list(found.table()[0]) == ["method", "place", *MEASURES, "seconds", "note"]
    names = [path.name for path in found.save(tmp_path)]
    assert names == ["methods-image-0.png", "methods-image-1.png", "arrays.safetensors", "certificate.json"]
    arrays = load_file(tmp_path / "arrays.safetensors")
    assert set(arrays) == {*SOME, *CONTROLS}
    assert arrays["grad-cam"].shape == (2, 12, 12)
    assert found.certificate.check["best"] == found.rows[0].method
    assert set(found.certificate.check["controls"]) == CONTROLS


def test_the_seed_makes_it_repeat() -> None:
    scope, pixels = microscope(), photographs(1)
    first, again = (scope.rank(pixels, ["smoothgrad"], 1, steps=2, seed=4) for _ in range(2))
    for one, two in zip(first.rows, again.rows, strict=True):
        assert (one.method, one.numbers, one.place) == (two.method, two.numbers, two.place)


def test_controls_know_nothing_of_the_network() -> None:
    images = torch.zeros(2, 3, 9, 9)
    images[1, :, :, 5:] = 1
    found = control_maps(images, seed=0)
    assert set(found) == CONTROLS
    assert all(heat.shape == (2, 9, 9) for heat in found.values())
    assert found["edges"][0].abs().max() == 0
    assert (found["edges"][1].argmax(1) // 1 == 4).all()
    assert found["centre"][0].argmax() == 4 * 9 + 4
    assert torch.equal(found["random pixels"][0], found["random pixels"][1])


def test_progress_and_unknown_names() -> None:
    told: list[tuple[str, int, int]] = []
    microscope().rank(photographs(1), ["saliency"], 0, steps=2, progress=lambda *given: told.append(given))
    labels = list(dict.fromkeys(label for label, _, _ in told))
    assert labels[0] == "sensitivity"
    assert labels[1:5] == [
        "saliency, 1 of 5",
        *(f"saliency, 1 of 5: {name}" for name in ("deletion", "insertion", "road")),
    ]
    assert labels[-1] == "centre, 5 of 5: road"
    assert all(done <= total for _, done, total in told)
    with pytest.raises(InputError, match="method 'salience' is not known; the nearest are 'saliency'"):
        microscope().rank(photographs(1), ["salience"])
    with pytest.raises(InputError, match="2 images need one target for all or 2; found 3"):
        microscope().rank(photographs(2), ["saliency"], [0, 1, 2])
