"""Images made from images: the inversion of features, fooling images, and dreams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import bare, capture
from cutaway.lenses.synthesis.ascent import Ascent, measure
from cutaway.lenses.synthesis.classic import default_jitter, default_step, unit
from cutaway.lenses.synthesis.images import Fourier, Space, generator
from cutaway.lenses.synthesis.imagination import Request, Synthesis, synthesize
from cutaway.lenses.synthesis.objectives import Objective, match
from cutaway.lenses.synthesis.styles import Way
from cutaway.lenses.synthesis.walk import Climbed, Walk, optimise
from cutaway.lenses.targets import Target

_SMALLEST_DREAM = 64  # pixels of the shorter side of the smallest octave
_HALVINGS = 12


def invert(
    network: nn.Module,
    images: Tensor,
    layer: str,
    space: Space,
    request: Request | None = None,
    *,
    smooth: float = 1e-3,
    rate: float = 0.05,
) -> Synthesis:
    """Images whose features at a layer are those of `images`: what the layer keeps of them.

    From noise, up `-|a(x) - a(x0)|^2 / |a(x0)|^2 - smooth TV(x)` (Mahendran and Vedaldi, 2015). It differs from the
    paper in how images are kept natural: a Fourier parametrisation with Adam, whose sigmoid takes the place of the
    paper's sixth norm, and TV with exponent 1 as a mean over the pixels.

    Args:
        network: any module; it is left as it was.
        images: float (N, C, H, W), as the network expects them.
        layer: dotted name of the layer.
        space: shape and range of the images.
        request: how long and from which seed; the steps run through the network itself unless it says otherwise.
        smooth: weight of the total variation.
        rate: step of the optimizer.
    """
    request = request or Request(precision="fp32")
    with torch.no_grad():
        features = capture(bare(network), images, [layer])[layer]
    goals = [match(layer, features[image : image + 1]) for image in range(len(images))]
    numbers = Fourier(space).start([goal.name for goal in goals], request.seed)
    settings = {"layer": layer, "smooth": smooth, "rate": rate}
    return synthesize(network, goals, space, _INVERSION, Fourier(space).inputs(numbers), request, settings)


def _climb_inversion(
    ascent: Ascent, space: Space, walk: Walk, _start: Tensor, *, layer: str, smooth: float, rate: float
) -> Climbed:
    del layer  # the objectives know it
    return optimise(ascent, Fourier(space, rate), walk, penalty=lambda inputs: smooth * total_variation(inputs))


def total_variation(images: Tensor) -> Tensor:
    """The mean size of the step from a pixel to its neighbours below and right: float (N,) of (N, C, H, W)."""
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1).mean(1)
    across = (images[..., 1:] - images[..., :-1]).abs().flatten(1).mean(1)
    return down + across


def dream(
    network: nn.Module,
    images: Tensor,
    objectives: Sequence[Objective],
    space: Space,
    request: Request | None = None,
    *,
    octaves: int | None = None,
    scale: float = 1.4,
    step: float = 0.01,
    jitter: int | None = None,
) -> Synthesis:
    """Images with more of what a layer sees in them (DeepDream; Mordvintsev et al., 2015).

    The image is enlarged octave by octave; in each, steps along the gradient over its mean size are taken, with
    jitter. It differs from the original in that pixels stay in their valid range.

    Args:
        network: any module; it is left as it was.
        images: float (N, C, H, W), as the network expects them.
        objectives: one an image.
        space: shape and range of the images.
        request: how long (steps of all octaves together) and from which seed.
        octaves: how many sizes; None for as many, up to 4, as keep the shorter side at 64 pixels or more.
        scale: from one size to the next.
        step: mean change of a pixel in a step, on the scale 0..1.
        jitter: as in `classic`.
    """
    settings: dict[str, Any] = {
        "octaves": default_octaves(space, scale) if octaves is None else octaves,
        "scale": scale,
        "step": step,
        "jitter": default_jitter(space) if jitter is None else jitter,
    }
    if settings["octaves"] < 1 or scale <= 1:
        raise InputError(f"octaves is {octaves} and scale is {scale}; expected at least 1 octave and a scale above 1")
    smallest = _resized(images, space, scale ** (settings["octaves"] - 1))
    measure(network, objectives[:1], smallest[:1])  # a sentence now for a size that the network does not take
    return synthesize(network, objectives, space, _DREAM, images, request or Request(), settings)


def default_octaves(space: Space, scale: float) -> int:
    """Up to 4 sizes whose shorter side has 64 pixels or more; at least 1."""
    side = min(space.shape[1:])
    return max(1, sum(side / scale**octave >= _SMALLEST_DREAM for octave in range(4)))


def _climb_dream(
    ascent: Ascent, space: Space, walk: Walk, start: Tensor, *, octaves: int, scale: float, step: float, jitter: int
) -> Climbed:
    found, random = Climbed(start), generator(walk.seed, "jitter")
    length = (step / torch.tensor(space.std).to(start)).view(-1, 1, 1)
    detail = torch.zeros_like(start)
    for number in range(walk.steps):
        octave = octaves - 1 - number * octaves // walk.steps
        base = _resized(start, space, scale**octave)
        image = base + F.interpolate(detail, size=base.shape[2:], mode="bilinear", align_corners=False)
        down, across = torch.randint(-jitter, jitter + 1, (2,), generator=random).tolist()
        image = image.roll((down, across), (2, 3))
        scores, gradient = ascent.gradient(image, lambda values: values)
        size = gradient.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
        image = image + length * gradient / torch.where(size > 0, size, torch.ones_like(size))
        image = space.clamp(image.roll((-down, -across), (2, 3)))
        detail, found.inputs = image - base, image
        found.step(walk, number + 1, scores, lambda: _resized(found.inputs, space, 1.0))
    return found


def _resized(images: Tensor, space: Space, by: float) -> Tensor:
    """Images smaller by a factor."""
    height, width = (max(1, round(side / by)) for side in space.shape[1:])
    if images.shape[2:] == (height, width):
        return images
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def fool(
    network: nn.Module,
    images: Tensor,
    target: Target,
    space: Space,
    request: Request | None = None,
    *,
    step: float | None = None,
) -> Synthesis:
    """The images, changed as little as this ascent can so that the network sees the target class in them.

    Steps of constant length up the margin (the target's logit minus the largest other) until it is positive
    (fooling images; Szegedy et al., 2014), then the smallest part of the way from the image that still is, by
    halving. The check holds, for each image, the steps taken and the L2 and largest change of its pixels in 0..1.

    Args:
        network: any module that returns logits (N, classes); it is left as it was.
        images: float (N, C, H, W), as the network expects them.
        target: the class of each image, or one for all.
        space: shape and range of the images.
        request: at most how many steps.
        step: their length in the network's units; None for 1 at 3x224x224 and in proportion at any other size.
    """
    if target.layer or target.minus:
        raise InputError(f"a fooling image needs a class as its target; found '{target.name(0)}'")
    goals = [_margin(target.of([image] if len(target.plus) > 1 else [0])) for image in range(len(images))]
    request = request or Request(precision="fp32")
    settings = {"step": default_step(space) / 25 if step is None else step}
    found = synthesize(network, goals, space, _FOOLING, images, request, settings)
    change = (space.pixels(found.inputs) - space.pixels(images.float().cpu())).flatten(1)
    taken = (found.history <= 0).sum(0)
    check = {"l2": change.norm(dim=1), "linf": change.abs().amax(1), "steps": taken}
    missed = tuple(
        f"image {image} is not seen as '{goal.name}' after {found.history.shape[0]} steps; give more"
        for image, goal in enumerate(goals)
        if found.reached[image] <= 0
    )
    notes = (*found.notes, *missed)
    return replace(found, check={**found.check, **{key: value.tolist() for key, value in check.items()}}, notes=notes)


def _margin(target: Target) -> Objective:
    """The target's logit minus the largest other."""
    (chosen,) = target.plus

    def score(logits: Tensor) -> Tensor:
        own = target.scores({"": logits})
        others = logits.clone()
        others[:, chosen] = -torch.inf
        return own - others.amax(1)

    return Objective(target.name(0), "", score)


def _climb_fooling(ascent: Ascent, space: Space, walk: Walk, start: Tensor, *, step: float) -> Climbed:
    found = Climbed(start)
    for number in range(1, walk.steps + 1):
        scores, gradient = ascent.gradient(found.inputs, lambda values: values)
        on_the_way = (scores <= 0).view(-1, 1, 1, 1)
        found.inputs = torch.where(on_the_way, space.clamp(found.inputs + step * unit(gradient)), found.inputs)
        found.step(walk, number, scores, lambda: found.inputs)
        if not on_the_way.any():
            break
    found.inputs = _nearest(ascent, start, found.inputs)
    return found


def _nearest(ascent: Ascent, start: Tensor, end: Tensor) -> Tensor:
    """The point nearest to `start` on the way to `end` whose score is positive; `end` itself where there is none."""
    low = torch.zeros(len(start), 1, 1, 1, dtype=start.dtype, device=start.device)
    high = torch.ones_like(low)
    with torch.no_grad():
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = (ascent.scores(start + middle * (end - start)) > 0).view(-1, 1, 1, 1)
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        arrived = (ascent.scores(end) > 0).view(-1, 1, 1, 1)
    return torch.where(arrived, start + high * (end - start), end)


_INVERSION = Way("inversion", _climb_inversion, 300, paper="Mahendran and Vedaldi, 2015")
_DREAM = Way("dream", _climb_dream, 40, paper="Mordvintsev et al., 2015")
_FOOLING = Way("fooling", _climb_fooling, 200, paper="Szegedy et al., 2014")
