"""Inversion, dreams and fooling images: the numbers they promise, on networks where they can be checked."""

from __future__ import annotations

import pytest
import torch
from synthesis_cases import SMALL, by_hand, network
from torch import nn

from cutaway.errors import InputError
from cutaway.lenses.synthesis import Request, Space, dream, fool, invert, objective, whole_layer
from cutaway.lenses.synthesis.starting import default_octaves, total_variation
from cutaway.lenses.targets import parse_target

IMAGES = SMALL.inputs(torch.rand(3, *SMALL.shape, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1)


def test_an_inversion_has_the_features_and_of_an_injective_layer_the_image() -> None:
    layer = nn.Conv2d(3, 3, 1)
    nn.init.orthogonal_(layer.weight)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(3 * 12 * 16, 2)).double().requires_grad_(False)
    found = invert(model, IMAGES, "0", SMALL, Request(steps=300, precision="fp32"), smooth=0.0)
    features = by_hand(model, IMAGES.double(), 1)
    own = by_hand(model, found.inputs.double(), 1)
    error = (own - features).square().sum((1, 2, 3)) / features.square().sum((1, 2, 3))
    assert found.reached.tolist() == pytest.approx((-error).tolist(), rel=1e-4)
    assert float(error.max()) < 3e-2
    assert float((SMALL.pixels(found.inputs) - SMALL.pixels(IMAGES)).abs().mean()) < 0.05


def test_an_inversion_does_not_depend_on_its_batch_and_smoothing_smooths() -> None:
    request = Request(steps=20, precision="fp32")
    together = invert(network(), IMAGES, "2", SMALL, request)
    alone = invert(network(), IMAGES[1:2], "2", SMALL, request)
    torch.testing.assert_close(together.inputs[1:2], alone.inputs, atol=1e-5, rtol=1e-5)
    assert (together.reached > torch.tensor(together.check["start"])).all()
    smooth = invert(network(), IMAGES, "2", SMALL, request, smooth=1.0)
    assert (total_variation(smooth.inputs) < total_variation(together.inputs)).all()


def test_total_variation_of_a_ramp() -> None:
    ramp = torch.arange(4.0).expand(1, 2, 5, 4)
    assert total_variation(ramp).tolist() == [1.0]


def test_a_dream_says_more_and_stays_in_range() -> None:
    goals = [whole_layer("3")] * 3
    request = Request(steps=12, seed=4, precision="fp32", keep=6)
    found = dream(network(), IMAGES, goals, SMALL, request, octaves=2, scale=1.2)
    assert (found.reached > torch.tensor(found.check["start"])).all()
    pixels = SMALL.pixels(found.inputs)
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    assert tuple(found.frames.shape) == (2, 3, *SMALL.shape)
    alone = dream(network(), IMAGES[2:], goals[:1], SMALL, request, octaves=2, scale=1.2)
    torch.testing.assert_close(found.inputs[2:], alone.inputs, atol=1e-5, rtol=1e-5)


def test_a_dream_of_one_octave_without_jitter_is_plain_steps() -> None:
    model = network().requires_grad_(False)
    found = dream(model, IMAGES, [objective("0:1")] * 3, SMALL, Request(steps=3, precision="fp32"), jitter=0, octaves=1)
    images = IMAGES.double()
    for _ in range(3):
        images = images.requires_grad_()
        (gradient,) = torch.autograd.grad(by_hand(model, images, 1)[:, 1].mean((1, 2)).sum(), images)
        length = torch.tensor([0.01 / std for std in SMALL.std]).view(3, 1, 1)
        images = SMALL.clamp(images.detach() + length * gradient / gradient.abs().mean((1, 2, 3), keepdim=True))
    torch.testing.assert_close(found.inputs, images.float(), atol=1e-5, rtol=1e-5)


def test_octaves_keep_the_side_large_enough() -> None:
    assert [default_octaves(Space((1, side, side), (0.5,), (0.5,)), 1.4) for side in (28, 100, 224)] == [1, 2, 4]
    with pytest.raises(InputError, match="expected at least 1 octave and a scale above 1"):
        dream(network(), IMAGES, [whole_layer("3")] * 3, SMALL, octaves=0)
    with pytest.raises(InputError, match="does not take images of 3x1x2"):
        dream(network(), IMAGES, [whole_layer("3")] * 3, SMALL, octaves=8, scale=1.4)


def test_fooling_a_linear_network_takes_the_straight_way() -> None:
    """Of a linear network the nearest image of another class lies along the difference of two rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double().requires_grad_(False)
    place = Space((1, 6, 6), (0.5,), (0.25,))
    images = place.inputs(torch.full((1, 1, 6, 6), 0.5))
    logits = model(images.double())[0]
    target = int(logits.argmin())
    found = fool(model, images, parse_target(target), place, Request(precision="fp32"))
    rows = model[1].weight  # type: ignore[union-attr]  # a linear layer
    across = rows[target] - rows[1 - target]  # type: ignore[index]  # a weight
    distance = float((logits[1 - target] - logits[target]) / across.norm())
    assert found.check["l2"][0] == pytest.approx(distance * 0.25, rel=0.02)
    assert float(found.reached[0]) > 0
    cosine = torch.cosine_similarity((found.inputs - images).flatten().double(), across, dim=0)
    assert float(cosine) > 0.999


def test_fooled_images_are_of_the_class_and_the_change_is_measured() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 10 * 14, 5)]
    model = nn.Sequential(*layers).double().requires_grad_(False)
    for goal in (parse_target(3), parse_target([1, 2, 4])):
        found = fool(model, IMAGES, goal, SMALL, Request(steps=400, precision="fp32"))
        wanted = [goal.of([image] if len(goal.plus) > 1 else [0]).plus[0] for image in range(3)]
        assert by_hand(model, found.inputs.double(), 4).argmax(1).tolist() == wanted
        change = (SMALL.pixels(found.inputs) - SMALL.pixels(IMAGES)).flatten(1)
        assert found.check["l2"] == pytest.approx(change.norm(dim=1).tolist(), abs=1e-6)
        assert found.check["linf"] == pytest.approx(change.abs().amax(1).tolist(), abs=1e-6)
        alone = fool(model, IMAGES[:1], goal.of([0]), SMALL, Request(steps=400, precision="fp32"))
        torch.testing.assert_close(found.inputs[:1], alone.inputs, atol=1e-5, rtol=1e-5)
        assert found.check["steps"][0] == alone.check["steps"][0]


def test_what_is_seen_already_stays_and_what_cannot_be_reached_is_said() -> None:
    model = network().requires_grad_(False)
    seen = int(by_hand(model, IMAGES[:1].double(), 8).argmax())
    found = fool(model, IMAGES[:1], parse_target(seen), SMALL)
    assert found.check["steps"] == [0]
    assert torch.equal(found.inputs, IMAGES[:1])
    other = fool(model, IMAGES[:1], parse_target((seen + 1) % 5), SMALL, Request(steps=1), step=1e-6)
    assert other.notes == (f"image 0 is not seen as 'class {(seen + 1) % 5}' after 1 steps; give more",)
    with pytest.raises(InputError, match="a fooling image needs a class as its target; found '3:1'"):
        fool(model, IMAGES, parse_target("3:1"), SMALL)


def test_the_callers_inference_mode_does_not_matter() -> None:
    model, request = network(), Request(steps=2, precision="fp32")
    with torch.inference_mode():
        images = IMAGES.clone()
        assert len(invert(model, images, "2", SMALL, request).inputs) == 3
        assert len(dream(model, images, [whole_layer("3")] * 3, SMALL, request).inputs) == 3
        assert len(fool(model, images, parse_target(3), SMALL, request).inputs) == 3
