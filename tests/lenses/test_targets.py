"""One number per image, by whatever name a person gives it."""

from __future__ import annotations

import pytest
import torch

from cutaway.errors import InputError
from cutaway.lenses.targets import Target, parse_target

CLASSES = ["cat", "dog", "rocking-horse", "7"]
LOGITS = {"": torch.tensor([[1.0, 2.0, 4.0, 8.0], [10.0, 20.0, 40.0, 80.0]])}
MAPS = {"conv": torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)}


@pytest.mark.parametrize(
    ("spec", "scores", "name"),
    [
        (1, [2.0, 20.0], "dog"),
        ("dog", [2.0, 20.0], "dog"),
        ("1", [2.0, 20.0], "dog"),
        ("7", [8.0, 80.0], "7"),  # a class by that name comes before an index
        (("dog", "cat"), [1.0, 10.0], "dog - cat"),
        ("dog - cat", [1.0, 10.0], "dog - cat"),
        ("rocking-horse", [4.0, 40.0], "rocking-horse"),
        (["cat", "dog"], [1.0, 20.0], "cat"),
        (torch.tensor([3, 0]), [8.0, 10.0], "7"),
        ([("dog", "cat"), (2, 0)], [1.0, 30.0], "dog - cat"),
    ],
)
def test_classes(spec: object, scores: list[float], name: str) -> None:
    target = parse_target(spec, CLASSES)  # type: ignore[arg-type]  # each case has a type of its own
    assert target.scores(LOGITS).tolist() == scores
    assert target.name(0) == name


def test_units() -> None:
    assert parse_target("conv:1").scores(MAPS).tolist() == [5.5, 17.5]
    assert parse_target("conv:1@1,0").scores(MAPS).tolist() == [6.0, 18.0]
    assert parse_target("fc:2").scores({"fc": LOGITS[""]}).tolist() == [4.0, 40.0]
    assert parse_target("block:1").scores({"block": torch.arange(8.0).reshape(1, 4, 2)}).tolist() == [4.0]
    assert parse_target("layer1.0.relu#1:4").layer == "layer1.0.relu#1"


def test_one_for_all_and_one_for_each() -> None:
    target = parse_target([0, 1, 2], CLASSES)
    assert target.of(slice(1, 3)).plus == (1, 2)
    assert target.of([2, 0]).names == ("rocking-horse", "cat")
    assert parse_target(1).of(slice(5, 9)).plus == (1,)
    assert target.of(slice(1, 3)).name(1) == "rocking-horse"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("dgo", "class 'dgo' is not of this model; the nearest are 'dog'"),
        (4, "class 4 does not exist; classes are numbered 0 to 3"),
        (-1, "class -1 does not exist"),
        ([], "a list of targets needs at least one"),
        (["cat", "conv:1"], "must be of one kind .* found 'cat' and 'conv:1'"),
        (["conv:1", "fc:1"], "must be of one kind"),
    ],
)
def test_sentences(spec: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_target(spec, CLASSES)  # type: ignore[arg-type]  # each case has a type of its own


def test_what_only_the_output_can_refuse() -> None:
    with pytest.raises(InputError, match="target 9 is out of range: there are 4 classes"):
        parse_target(9).scores(LOGITS)
    with pytest.raises(InputError, match="target 3 is out of range: layer 'conv' has 3 channels"):
        parse_target("conv:3").scores(MAPS)
    with pytest.raises(InputError, match="place 2,0 is outside the 2x2 maps of layer 'conv'"):
        parse_target("conv:0@2,0").scores(MAPS)


def test_a_batch_of_another_length() -> None:
    with pytest.raises(InputError, match="3 targets for 2 images"):
        Target("", (0, 1, 2)).scores(LOGITS)
