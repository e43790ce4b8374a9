"""The classic ascent against the recipe written out a second time, one image and one pixel row at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from synthesis_cases import SMALL, by_hand, network
from torch import Tensor

from cutaway.lenses.synthesis import Request, Space, imagine, objective
from cutaway.lenses.synthesis.classic import blurred, default_jitter, default_step
from cutaway.lenses.synthesis.images import generator

SEED = 3


def slow(channel: int, name: str, steps: int, **options: Any) -> list[Tensor]:
    """The recipe, step by step; every image on the way."""
    settings = {"jitter": 1, "l2": 1e-3, "clamp": True, "blur": 0.5, **options}
    model = network().eval()
    image = torch.randn(*SMALL.shape, generator=generator(SEED, name)).double()
    random = generator(SEED, "jitter")
    seen = []
    for number in range(steps):
        reach = settings["jitter"]
        down, across = torch.randint(-reach, reach + 1, (2,), generator=random).tolist()
        rolled = torch.from_numpy(np.roll(image.numpy(), (down, across), (1, 2))).requires_grad_()
        by_hand(model, rolled[None], 4)[0, channel].mean().backward()
        assert rolled.grad is not None
        step = rolled.grad - settings["l2"] * 2 * rolled.detach()
        moved = rolled.detach() + default_step(SMALL) * step / math.sqrt(float((step**2).sum()))
        image = torch.from_numpy(np.roll(moved.numpy(), (-down, -across), (1, 2)))
        if settings["clamp"]:
            for colour, (mean, std) in enumerate(zip(SMALL.mean, SMALL.std, strict=True)):
                image[colour] = image[colour].clamp((0 - mean) / std, (1 - mean) / std)
        if settings["blur"] and number % 10 == 0:
            image = torch.stack([slow_blur(colour, settings["blur"]) for colour in image])
        seen.append(image)
    return seen


def slow_blur(plane: Tensor, sigma: float) -> Tensor:
    """Each pixel from its neighbours, in a double loop; the border is repeated outside."""
    reach = math.ceil(4 * sigma)
    height, width = plane.shape
    found = torch.zeros_like(plane)
    places = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    weights = [math.exp(-(i * i + j * j) / (2 * sigma**2)) for i, j in places]
    for row in range(height):
        for column in range(width):
            for (i, j), weight in zip(places, weights, strict=True):
                y, x = min(max(row + i, 0), height - 1), min(max(column + j, 0), width - 1)
                found[row, column] += weight * plane[y, x]
    return found / sum(weights)


@pytest.mark.parametrize("left_out", [{}, {"jitter": 0}, {"l2": 0.0}, {"clamp": False}, {"blur": 0.0}, {"l2": 0.1}])
def test_it_is_the_recipe_step_by_step(left_out: dict[str, Any]) -> None:
    goal = objective("3:2")
    request = Request(steps=12, keep=1, seed=SEED, precision="fp32")
    found = imagine(network(), [goal], SMALL, "classic", request, **left_out)
    expected = torch.stack(slow(2, "3:2", 12, **left_out))
    torch.testing.assert_close(found.frames[:, 0], expected.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.inputs[0], expected[-1].float(), atol=1e-5, rtol=1e-5)
    assert found.kept == tuple(range(1, 13))


def made(**options: Any) -> Tensor:
    """After 40 steps up a linear unit, without what the options leave out."""
    request = Request(steps=40, seed=SEED, precision="fp32")
    return imagine(network(), [objective("0:2")], SMALL, "classic", request, **options).inputs


def roughness(images: Tensor) -> float:
    return float((images[..., 1:] - images[..., :-1]).square().mean() / images.var())


def test_each_regulariser_does_what_it_is_for() -> None:
    pixels, free = SMALL.pixels(made(l2=0.0)), SMALL.pixels(made(l2=0.0, clamp=False))
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6
    assert free.max() > 1.1
    assert made(l2=0.1, clamp=False).norm() < made(l2=0.0, clamp=False).norm()
    assert roughness(made(blur=1.0)) < roughness(made(blur=0.0))


def test_the_defaults_are_the_experiments_at_224_and_in_proportion_elsewhere() -> None:
    whole, small = Space((3, 224, 224), (0.5,) * 3, (0.5,) * 3), Space((1, 28, 28), (0.5,), (0.5,))
    assert (default_step(whole), default_jitter(whole)) == (25.0, 16)
    assert default_jitter(small) == 2
    # The same part of the length of the noise it starts from.
    assert default_step(small) / 28 == pytest.approx(25 / math.sqrt(3 * 224 * 224))


def test_blur_keeps_a_constant_and_matches_the_double_loop() -> None:
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(blurred(torch.ones_like(images), 0.5), torch.ones_like(images))
    torch.testing.assert_close(blurred(images, 0.8)[1, 2], slow_blur(images[1, 2], 0.8))


def test_every_quarter_is_kept_by_default() -> None:
    found = imagine(network(), [objective(1)], SMALL, "classic", Request(seed=1))
    assert found.kept == (25, 50, 75, 100)
    assert tuple(found.frames.shape) == (4, 1, *SMALL.shape)
    assert torch.equal(found.frames[-1], found.inputs)
