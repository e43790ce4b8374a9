"""Objectives: what people write, and the number each gives, by partial passes made by hand."""

from __future__ import annotations

import pytest
import torch
from synthesis_cases import by_hand, network

from cutaway.errors import InputError
from cutaway.lenses.synthesis import Objective, direction, objective, whole_layer
from cutaway.lenses.synthesis.objectives import match, scores
from cutaway.lenses.targets import Target

CLASSES = ["cat", "dog", "ship", "frog", "truck"]
IMAGES = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(
    ("spec", "name", "layer"),
    [
        ("dog", "dog", ""),
        (1, "dog", ""),
        ("1", "dog", ""),
        (("cat", "dog"), "cat - dog", ""),
        ("cat - dog", "cat - dog", ""),
        ("3:2", "3:2", "3"),
        ("3:2@1,4", "3:2@1,4", "3"),
        ("3:2@centre", "3:2@centre", "3"),
        ("3", "frog", ""),
    ],
)
def test_what_people_write(spec: object, name: str, layer: str) -> None:
    found = objective(spec, CLASSES, network())  # type: ignore[arg-type]  # what a user may write
    assert (found.name, found.layer) == (name, layer)
    assert objective(found) is found


def test_a_layers_name_alone_is_all_of_it() -> None:
    model = torch.nn.Sequential()
    model.add_module("stem", network())
    assert objective("stem", CLASSES, model).layer == "stem"
    with pytest.raises(InputError, match=r"target 'stam' is not among the classes and layers .* 'stem'"):
        objective("stam", CLASSES, model)


def test_each_gives_its_number() -> None:
    model = network()
    maps, logits = by_hand(model, IMAGES, 4), by_hand(model, IMAGES, 8)
    vector = torch.arange(8.0).double()
    expected = {
        objective("dog", CLASSES): logits[:, 1],
        objective("cat - dog", CLASSES): logits[:, 0] - logits[:, 1],
        objective("3:2"): maps[:, 2].mean((1, 2)),
        objective("3:2@1,4"): maps[:, 2, 1, 4],
        objective("3:2@centre"): maps[:, 2, 4, 6],
        direction("3", vector): maps.mean((2, 3)) @ vector / vector.norm(),
        whole_layer("3"): maps.square().mean((1, 2, 3)),
        match("3", maps[:1]): -(maps - maps[:1]).square().sum((1, 2, 3)) / maps[:1].square().sum(),
        objective(Target("3", (2, 5), names=("a", "b"))): maps[:, 2].mean((1, 2)),
    }
    for goal, numbers in expected.items():
        found = scores([goal, goal], {"": logits, "3": maps})
        torch.testing.assert_close(found, numbers, msg=goal.name)


def test_tokens_and_vectors_have_directions_too() -> None:
    tokens = torch.randn(2, 5, 4)
    vector = torch.tensor([0.0, 3.0, 0.0, 0.0])
    torch.testing.assert_close(direction("t", vector).score(tokens), tokens.mean(1)[:, 1])
    torch.testing.assert_close(direction("t", vector).score(tokens[:, 0]), tokens[:, 0, 1])
    with pytest.raises(InputError, match="a direction of 4 numbers does not fit 't' with 3 channels"):
        direction("t", vector).score(tokens[..., :3])
    with pytest.raises(InputError, match="a direction is a float vector"):
        direction("t", torch.zeros(4))


def test_one_images_score_knows_no_other_image() -> None:
    goals = [objective("3:2"), objective("3:5"), whole_layer("1"), objective(2)]
    images = torch.randn(4, 3, 12, 16).double().requires_grad_()
    model = network()
    outputs = {"1": by_hand(model, images, 2), "3": by_hand(model, images, 4), "": by_hand(model, images, 8)}
    (gradient,) = torch.autograd.grad(scores(goals, outputs)[1], images)
    assert gradient[1].abs().max() > 0
    assert gradient[[0, 2, 3]].abs().max() == 0


def test_low_precision_is_summed_in_full() -> None:
    value = torch.ones(1, 2, 3, 3, dtype=torch.bfloat16)
    assert scores([Objective("x", "3", lambda maps: maps.mean((1, 2, 3)))], {"3": value}).dtype == torch.float32
