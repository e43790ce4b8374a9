"""Imagined images: what a class, a unit, a layer or an image's features look like to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, unknown
from cutaway.lenses import synthesis
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.synthesis import ObjectiveLike, Request, Space, Synthesis, objective
from cutaway.lenses.targets import Targets, parse_target
from cutaway.pictures import Picture
from cutaway.pictures.imagined import imagined_grid, rows_grid
from cutaway.progress import Progress
from cutaway.scope.inputs import Images
from cutaway.scope.result import Result
from cutaway.scope.subject import Subject

# Where nobody says what pixels mean, the network's input is taken for standardised: 0..1 are two deviations around it.
_MEAN, _STD = 0.5, 0.25


@dataclass(frozen=True, eq=False, repr=False)
class Imagined(Result):
    """Images that a network was asked for.

    Attributes:
        pixels: float32 (N, C, H, W) in 0..1.
        inputs: float32 (N, C, H, W), the same as the network expects them.
        objectives: float32 (N,), each image's own objective, by the network itself on the image as it is.
        history: float32 (steps, N), the objective during the ascent, under that step's transformation.
        targets: what each image was made for.
        frames: float32 (F, N, C, H, W) in 0..1, images on the way, after the steps in `kept`.
        kept: numbers of these steps, from 1.
        originals: float32 (N, C, H, W) in 0..1, the images it began with; None for noise.
        certificate: how they were made, with the objective reached beside that of the start and of noise with the
            same colours and spectrum.
    """

    pixels: Tensor
    inputs: Tensor
    objectives: Tensor
    history: Tensor
    targets: tuple[str, ...]
    frames: Tensor
    kept: tuple[int, ...]
    certificate: Certificate
    originals: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def images(self) -> Tensor:
        """Uint8 (N, C, H, W)."""
        return _bytes(self.pixels)

    def pictures(self) -> dict[str, Picture]:
        """All images with what they reached; besides the originals above them, and the steps on the way."""
        method = self.certificate.method
        grid = imagined_grid(self.images.numpy(), self.targets, self.objectives.tolist(), title=self.certificate.line())
        found = {method: grid}
        if self.originals is not None:
            change, label = _change(self.pixels, self.originals)
            rows = torch.stack([_bytes(self.originals), self.images, change]).numpy()
            found = {f"{method} before and after": rows_grid(rows, ["before", "after", label]), **found}
        if self.kept:
            labels = [f"step {step}" for step in self.kept]
            found[f"{method} step by step"] = rows_grid(_bytes(self.frames).numpy(), labels)
        return found

    def arrays(self) -> dict[str, Tensor]:
        """Pixels, inputs, objectives and history, and the frames and originals where there are any."""
        found = {name: getattr(self, name) for name in ("pixels", "inputs", "objectives", "history")}
        if self.kept:
            found["frames"] = self.frames
        return found if self.originals is None else {**found, "originals": self.originals}


def imagine(
    subject: Subject,
    targets: ObjectiveLike | Sequence[ObjectiveLike],
    style: str = "fourier",
    *,
    steps: int | None = None,
    size: int | tuple[int, int] | tuple[int, int, int] | None = None,
    keep: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    precision: str = "auto",
    real: Sequence[float] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Imagined:
    """One image for each target, all in one batch, from noise; none of them depends on another.

    Args:
        subject: over the network.
        targets: one or several of: a class by name or index; `("cat", "dog")` or `"cat - dog"`; a unit `"layer3:17"`;
            a neuron `"layer3:17@4,5"` or `"layer3:17@centre"`; a layer's name for all of it; a
            `synthesis.direction(layer, vector)`. They may be of different layers.
        style: "classic", "fourier" or "maco"; see docs/lenses/imagine.md.
        steps: how many; None for the style's own number.
        size: pixels of a side, (height, width) or (channels, height, width); None for the model's own.
        keep: keep a frame every so many steps; None for the style's own number, 0 for none.
        seed: the same seed gives the same image for a target, whatever else is imagined beside it.
        batch: at most so many images at once.
        precision: "auto", "fp32" or "bf16".
        real: for each target the best response of a real image, for the certificate.
        progress: called as (label, done, total).
        options: of the style.

    Raises:
        InputError: an unknown layer, channel, class, style or option; a size that the network does not take; an
            objective that is not finite.
    """
    given = targets if isinstance(targets, (list, Tensor)) else [targets]
    specs = given.tolist() if isinstance(given, Tensor) else list(given)
    goals = [objective(spec, subject.classes, subject.network) for spec in specs]
    space, notes = _space(subject, size)
    request = Request(steps, keep, seed, batch, precision, progress)
    if "spectrum" in options and not isinstance(options["spectrum"], str):
        options["spectrum"] = subject.inputs(options["spectrum"]).pixels.float() / 255
    found = synthesis.imagine(subject.network, goals, space, style, request, **options)
    check = dict(found.check)
    if real is not None:
        if len(real) != len(goals):
            raise InputError(f"real has {len(real)} numbers, expected one for each of the {len(goals)} targets")
        check["real"] = [float(value) for value in real]
    return _imagined(subject, "imagine", [goal.name for goal in goals], space, replace(found, check=check), seed, notes)


def invert(
    subject: Subject,
    images: Images,
    layer: str,
    *,
    steps: int | None = None,
    keep: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Imagined:
    """Images whose features at `layer` are those of `images`; options: `smooth`, `rate`.

    `objectives` are minus the squared relative error of the features; the certificate holds its root, `error`.
    """
    given = subject.inputs(images)
    space, notes = _space_of(subject, given.values)
    request = Request(steps, keep, seed, batch, "fp32", progress)
    found = synthesis.invert(subject.network, given.values, layer, space, request, **_known(options, "smooth", "rate"))
    error = (-found.reached).clamp(min=0).sqrt().tolist()
    found = replace(found, check={"error": error, **found.check})
    return _imagined(subject, "invert", given.names, space, found, seed, notes, given.values)


def dream(
    subject: Subject,
    images: Images,
    layer: ObjectiveLike,
    *,
    steps: int | None = None,
    keep: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    precision: str = "auto",
    progress: Progress | None = None,
    **options: Any,
) -> Imagined:
    """The images with more of what `layer`, or another target, sees; options: `octaves`, `scale`, `step`, `jitter`."""
    given = subject.inputs(images)
    space, notes = _space_of(subject, given.values)
    goal = objective(layer, subject.classes, subject.network)
    request = Request(steps, keep, seed, batch, precision, progress)
    known = _known(options, "octaves", "scale", "step", "jitter")
    found = synthesis.dream(subject.network, given.values, [goal] * len(given), space, request, **known)
    names = [f"{name}, {goal.name}" for name in given.names]
    return _imagined(subject, "dream", names, space, found, seed, notes, given.values)


def fool(
    subject: Subject,
    images: Images,
    target: Targets,
    *,
    steps: int | None = None,
    keep: int | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Imagined:
    """The images, changed as little as it takes to be seen as `target` (one class, or one an image); option: `step`.

    `objectives` are the target's logit minus the largest other: positive where it worked. The certificate holds the
    change of each image: `l2` and `linf` of its pixels in 0..1, and the `steps` it took.
    """
    given = subject.inputs(images)
    space, notes = _space_of(subject, given.values)
    goal = parse_target(target, subject.classes)
    request = Request(steps, keep, 0, batch, "fp32", progress)
    found = synthesis.fool(subject.network, given.values, goal, space, request, **_known(options, "step"))
    names = [f"{name} as {goal.name(index)}" for index, name in enumerate(given.names)]
    return _imagined(subject, "fool", names, space, found, None, notes, given.values)


def _imagined(
    subject: Subject,
    method: str,
    names: Sequence[str],
    space: Space,
    found: Synthesis,
    seed: int | None,
    notes: tuple[str, ...],
    originals: Tensor | None = None,
) -> Imagined:
    parameters = {"targets": list(names), **found.parameters, "mean": list(space.mean), "std": list(space.std)}
    certificate = Certificate(method, parameters, seed, found.check, (*notes, *found.notes))
    return Imagined(
        pixels=space.pixels(found.inputs).clamp(0, 1),
        inputs=found.inputs,
        objectives=found.reached,
        history=found.history,
        targets=tuple(names),
        frames=space.pixels(found.frames).clamp(0, 1),
        kept=found.kept,
        certificate=subject.certify(certificate),
        originals=None if originals is None else space.pixels(originals.detach().float().cpu()).clamp(0, 1),
    )


def _space(subject: Subject, size: int | tuple[int, ...] | None) -> tuple[Space, tuple[str, ...]]:
    """Shape and range of the images, and what had to be assumed about them."""
    known = subject.preprocessing.shape if subject.preprocessing else subject.shape
    if size is None and known is None:
        raise InputError(f"{subject.name} does not say its input size; give one, such as size=64")
    wanted = known if size is None else (size, size) if isinstance(size, int) else tuple(size)
    assert wanted is not None
    channels = known[0] if known else _channels(subject.network)
    shape = wanted if len(wanted) == 3 else (channels, *wanted)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"size is {size}, expected a side, (height, width) or (channels, height, width)")
    return _coloured(subject, (shape[0], shape[1], shape[2]))


def _space_of(subject: Subject, images: Tensor) -> tuple[Space, tuple[str, ...]]:
    channels, height, width = images.shape[1:]
    return _coloured(subject, (channels, height, width))


def _coloured(subject: Subject, shape: tuple[int, int, int]) -> tuple[Space, tuple[str, ...]]:
    known = subject.preprocessing
    if known is not None:
        return Space(shape, known.mean, known.std), ()
    note = f"nobody said how pixels become this network's input: mean {_MEAN} and deviation {_STD} were assumed"
    return Space(shape, (_MEAN,) * shape[0], (_STD,) * shape[0]), (note,)


def _channels(network: nn.Module) -> int:
    """What the first convolution reads."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise InputError("the network has no convolution to tell its channels; give size=(channels, height, width)")
    return first.in_channels


def _known(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in options:
        if name not in names:
            raise unknown("option", name, names, f"one of {', '.join(names)}")
    return dict(options)


def _bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _change(pixels: Tensor, originals: Tensor) -> tuple[Tensor, str]:
    """The change from the originals, uint8 on mid grey, so strong that the largest is seen in full; and a label."""
    difference = pixels - originals
    largest = float(difference.abs().max()) or 1.0
    return _bytes(0.5 + 0.5 * difference / largest), f"change, ±{largest:.2g}"
