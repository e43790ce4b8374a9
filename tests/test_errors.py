"""Names that do not exist bring the nearest that do."""

from __future__ import annotations

import pytest

from cutaway.errors import InputError, nearest, unknown


@pytest.mark.parametrize(
    ("name", "first"),
    [("layer5", "layer4"), ("LAYER4", "layer4"), ("conv", "conv1"), ("fcc", "fc"), ("zzzzz", None), ("", None)],
)
def test_the_nearest_comes_first(name: str, first: str | None) -> None:
    known = ["conv1", "layer4", "fc"]
    found = nearest(name, known)
    assert sorted(found) == sorted(known)
    assert first is None or found[0] == first


def test_they_are_few_and_keep_their_letters() -> None:
    assert len(nearest("a", [f"a{number}" for number in range(50)])) == 3
    assert nearest("resnet", ["ResNet"], count=1) == ["ResNet"]
    assert nearest("anything", []) == []


def test_the_sentence() -> None:
    error = unknown("class", "ct", ["cat", "dog"], "in photos")
    assert isinstance(error, InputError)
    assert str(error) == "class 'ct' is not in photos; the nearest are 'cat', 'dog'"
    assert str(unknown("class", "ct", [])) == "class 'ct' is not known"


def test_it_is_a_value_error_for_those_who_use_the_library() -> None:
    assert issubclass(InputError, ValueError)
