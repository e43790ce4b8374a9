"""Imagining: many images at once, each with its own objective, and the numbers that say what they are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import bare, images_for
from cutaway.lenses.synthesis.ascent import Ascent, Batches, check_finite, climbing, measure
from cutaway.lenses.synthesis.images import Space, generator
from cutaway.lenses.synthesis.objectives import Objective
from cutaway.lenses.synthesis.quick import described, quick_twin
from cutaway.lenses.synthesis.styles import Way, style
from cutaway.lenses.synthesis.walk import Climbed, Walk
from cutaway.progress import Progress
from cutaway.showing import Shown

_CONTROLS = 4
_PIXELS_A_BATCH = 16 * 128 * 128  # maps of about so many pixels stay in a CPU's cache; larger batches gain nothing


@dataclass(frozen=True, eq=False)
class Synthesis(Shown):
    """Images made for objectives.

    Attributes:
        inputs: float32 (N, C, H, W) on the CPU, as the network expects them.
        reached: float32 (N,), each image's own objective, by the network itself on the image as it is.
        history: float32 (steps, N), the objective during the ascent, under that step's transformation.
        frames: float32 (F, N, C, H, W), images on the way, after the steps in `kept`.
        kept: numbers of these steps, from 1.
        check: name and values (one an image) of each check.
        notes: sentences a reader must know.
        parameters: everything that decided the images.
    """

    inputs: Tensor
    reached: Tensor
    history: Tensor
    frames: Tensor
    kept: tuple[int, ...] = ()
    check: Mapping[str, list[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """How long, from which seed and how it is computed.

    Attributes:
        steps: how many; None for the style's own number.
        keep: keep a frame every so many steps, 0 for none; None for the style's own number.
        seed: of the noise, which depends on the objective's name too, and of the transformations, which do not.
        batch: at most so many images at once; None for about as many as a CPU's cache holds.
        precision: "auto" for the faster of bf16 and fp32 on a verified copy, "fp32" for the network itself, "bf16".
        progress: called as (label, steps done, steps in all, each for one image).
    """

    steps: int | None = None
    keep: int | None = None
    seed: int = 0
    batch: int | None = None
    precision: str = "auto"
    progress: Progress | None = None

    def walk(self, chosen: Way) -> Walk:
        """The way up, with its own numbers where none are given."""
        steps = chosen.steps if self.steps is None else self.steps
        keep = chosen.keep if self.keep is None else self.keep
        if steps < 1 or keep < 0:
            raise InputError(f"steps is {steps} and keep is {keep}; expected at least 1 step, and keep 0 or more")
        return Walk(steps, self.seed, keep)


def imagine(
    network: nn.Module,
    objectives: Sequence[Objective],
    space: Space,
    kind: str = "fourier",
    request: Request | None = None,
    **options: Any,
) -> Synthesis:
    """One image for each objective, all in one batch, from noise; none of them depends on another.

    Args:
        network: any module; it is left as it was.
        objectives: N of them, of any layers.
        space: shape and range of the images.
        kind: the style's name.
        request: how long, from which seed and how it is computed.
        options: of the style.

    Raises:
        InputError: an unknown layer, channel, class, style or option, a size that the network does not take,
            an objective that is not finite.

    >>> from cutaway.lenses.synthesis.objectives import objective
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> space = Space((1, 12, 12), (0.5,), (0.25,))
    >>> found = imagine(network, [objective(0), objective("0:3")], space, request=Request(steps=3))
    >>> tuple(found.inputs.shape), tuple(found.history.shape)
    ((2, 1, 12, 12), (3, 2))
    """
    chosen, request = style(kind), request or Request()
    if not objectives:
        raise InputError("there is nothing to imagine: an empty list of targets was given")
    settings = chosen.settled(options, space)
    start = chosen.begin(space, [one.name for one in objectives], request.seed, **settings)
    found = synthesize(network, objectives, space, chosen, start.detach(), request, settings)
    return replace(found, notes=(*found.notes, *_silent(found.history, objectives)))


def synthesize(
    network: nn.Module,
    objectives: Sequence[Objective],
    space: Space,
    chosen: Way,
    start: Tensor,
    request: Request,
    settings: Mapping[str, Any],
) -> Synthesis:
    """The way up in any style from the images `start` (N, C, H, W), and what it is worth."""
    network, walk = bare(network), request.walk(chosen)
    order = _by_layer(objectives)
    back = torch.tensor(order).argsort()
    objectives, start = [objectives[place] for place in order], start[order]
    batches = Batches(request.batch or default_batch(space))
    before = _measured(network, objectives, start, batches)
    check_finite(before[None], objectives, network, start)
    twin = quick_twin(network, images_for(network, start), [one.layer for one in objectives], request.precision)
    counter = _Counter(request.progress, walk.steps, len(objectives))

    def work(part: slice) -> tuple[Climbed, Tensor]:
        with climbing(network, twin, objectives[part]) as ascent:
            found = chosen.climb(ascent, space, counter.of(walk, part), ascent.place(start[part]), **settings)
            return found, _noise_scores(ascent, found.inputs, space, walk.seed)

    done = batches.over(len(objectives), work)
    climbed, noise = [found for found, _ in done], torch.cat([scores for _, scores in done], 1)
    inputs = torch.cat([one.inputs for one in climbed]).float().cpu()
    history = _together([one.history for one in climbed])
    check_finite(history, objectives, network, inputs)
    reached = _measured(network, objectives, inputs, batches)
    check = {"reached": reached, "start": before, "noise_mean": noise.mean(0), "noise_max": noise.amax(0)}
    about = {"style": chosen.name, "steps": walk.steps, "size": list(space.shape)}
    return Synthesis(
        inputs=inputs[back],
        reached=reached[back],
        history=history[:, back],
        frames=_together([one.frames for one in climbed])[:, back] if climbed[0].frames else inputs[None][:0],
        kept=max((tuple(one.kept) for one in climbed), key=len),
        check={name: value[back].tolist() for name, value in check.items()},
        notes=(*batches.notes, *(note for one in climbed for note in one.notes)),
        parameters={**about, **{name: _plain(value) for name, value in settings.items()}, "computed": described(twin)},
    )


def _noise_scores(ascent: Ascent, inputs: Tensor, space: Space, seed: int) -> Tensor:
    """Float32 (controls, n) on the CPU: what noise like these images reaches."""
    with torch.no_grad():
        noise = [controls_of(inputs.detach(), space, seed, number) for number in range(_CONTROLS)]
        return torch.stack([ascent.scores(images).float().cpu() for images in noise])


@dataclass
class _Counter:
    """Turns the steps of one batch into steps of all images."""

    progress: Progress | None
    steps: int
    images: int

    def of(self, walk: Walk, part: slice) -> Walk:
        """The way of one batch."""
        if self.progress is None:
            return walk
        tell, before, together = self.progress, part.start * self.steps, part.stop - part.start
        return replace(walk, tick=lambda step: tell("imagining", before + together * step, self.images * self.steps))


def _by_layer(objectives: Sequence[Objective]) -> list[int]:
    """Places of the objectives, those of one layer together: a batch goes only as far as its deepest layer."""
    layers = list(dict.fromkeys(one.layer for one in objectives))
    return sorted(range(len(objectives)), key=lambda place: layers.index(objectives[place].layer))


def default_batch(space: Space) -> int:
    """Images at once: 16 of 128 x 128 pixels, and 4 to 64."""
    return max(4, min(64, _PIXELS_A_BATCH // math.prod(space.shape[1:])))


def controls_of(inputs: Tensor, space: Space, seed: int, number: int) -> Tensor:
    """Noise with the mean colour and the spectrum of `inputs` (N, C, H, W), so with their variance: shuffled phases.

    The same shuffle serves all images and channels, so that colours stay together.
    """
    pixels = space.pixels(inputs)
    mean = pixels.mean((2, 3), keepdim=True)
    white = torch.randn(*inputs.shape[2:], generator=generator(seed, f"control {number}")).to(pixels)
    turn = torch.fft.rfft2(white)
    turned = torch.fft.rfft2(pixels - mean) * turn / turn.abs().clamp_min(1e-12)
    return space.inputs((torch.fft.irfft2(turned, s=inputs.shape[2:]) + mean).clamp(0, 1))


def _measured(network: nn.Module, objectives: Sequence[Objective], inputs: Tensor, batches: Batches) -> Tensor:
    return torch.cat(batches.over(len(inputs), lambda part: measure(network, objectives[part], inputs[part])))


def _together(batches: Sequence[Sequence[Tensor]]) -> Tensor:
    """Float32 (steps, N, ...) of each batch's (n, ...) by step; a batch that ended early stays where it was."""
    steps = max(len(one) for one in batches)
    whole = [torch.stack([*one, *[one[-1]] * (steps - len(one))]) for one in batches]
    return torch.cat(whole, 1).float().cpu()


def _silent(history: Tensor, objectives: Sequence[Objective]) -> list[str]:
    """A sentence for each objective that never moved: a unit that is off has no gradient to follow."""
    still = (history == history[0]).all(0) if len(history) > 1 else torch.zeros(len(objectives), dtype=torch.bool)
    return [
        f"'{one.name}' stayed at {float(history[0, place]):.3g}: nothing in the image moves it "
        "(a unit behind a ReLU that is off); try another seed, or the layer before the ReLU"
        for place, one in enumerate(objectives)
        if still[place]
    ]


def _plain(value: Any) -> Any:
    """An option as a certificate can hold it."""
    if isinstance(value, Tensor):
        return f"{len(value)} images"
    return list(value) if isinstance(value, tuple) else value
