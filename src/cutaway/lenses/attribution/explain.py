"""`explain`: any attribution method for any network, target and layer, in chunks that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.twin import Twin, bf16_pays, fast_twin
from cutaway.errors import InputError, unknown
from cutaway.lenses.attribution.catalogue import METHODS
from cutaway.lenses.attribution.chunks import in_chunks, joined
from cutaway.lenses.attribution.layers import good_layer
from cutaway.lenses.attribution.method import Found, Job, Method
from cutaway.lenses.capture import bare, find_module, images_for, module_name, need_finite
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.forward import Forward, opened
from cutaway.lenses.targets import Target, Targets, parse_target
from cutaway.progress import Progress
from cutaway.restoring import untouched
from cutaway.showing import Shown

AnyTarget = Targets | Target | None
Precision = Literal["fp32", "bf16", "auto"]
# Largest difference of a map from the float32 one, relative to its largest value, that a faster copy may make.
TOLERANCE = 0.02
# Only the first image's is known; in trained and untrained networks, others' were up to three times as large.
_SPREAD = 3
# The methods and layers for which a copy was good enough; it only decides what is computed first.
_good_for: WeakKeyDictionary[nn.Module, set[tuple[str, str]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Attribution(Shown):
    """Where in the images the evidence for a score is.

    Attributes:
        method: its name, as in `METHODS`.
        target: whose score is explained, for each image.
        layer: the layer that was read; "" for methods that read none.
        values: float32 on the CPU, raw and signed: (N, C, H, W) as the images, or (N, 1, h, w) as the layer.
        scores: float32 (N,) on the CPU, the target's score of each image.
        size: height and width of the images.
        certificate: what made it, and the checks.
    """

    method: str
    target: Target
    layer: str
    values: Tensor
    scores: Tensor
    size: tuple[int, int]
    certificate: Certificate

    def heat(self, signed: bool | None = None) -> Tensor:
        """Float32 (N, H, W): one number a pixel, the colours combined and a layer's map upsampled (bilinear).

        Args:
            signed: keep the evidence against the target; without it, negative values become zero before a map is
                upsampled. None is what a picture shows by default: class activation maps without it, as their papers
                have it, and other methods as they are.
        """
        method = METHODS[self.method]
        values = _one_per_place(self.values, method.combine)
        if signed is False or (signed is None and is_cam(method)):
            values = values.clamp_min(0)
        if values.shape[2:] == self.size:
            return values[:, 0]
        return F.interpolate(values, self.size, mode="bilinear", align_corners=False)[:, 0]


def is_cam(method: Method) -> bool:
    """Whether it is a class activation map: the map of a layer."""
    return method.needs_layer and method.kind == "map"


def _one_per_place(values: Tensor, combine: str) -> Tensor:
    return values.sum(1, keepdim=True) if combine == "sum" else values.abs().amax(1, keepdim=True)


def explain(
    network: nn.Module,
    images: Tensor,
    method: str = "grad-cam",
    target: AnyTarget = None,
    layer: str | None = None,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    batch: int = 32,
    precision: Precision = "fp32",
    progress: Progress | None = None,
    **options: Any,
) -> Attribution:
    """Which parts of the images speak for a target, by any method of `METHODS`.

    Args:
        network: any classifier that takes one image batch; left as it was.
        images: float (N, C, H, W), as the network expects them.
        method: such as `grad-cam`, `integrated-gradients`, `occlusion`.
        target: as `parse_target` takes it: a class, a difference of classes, a unit, or a list with one an image.
            None for the class that the network predicts for each image.
        layer: for methods that read one; None for `good_layer`'s choice.
        classes: the names of the classes, if anybody knows them.
        seed: of all random choices; an image's result does not depend on the others in its batch.
        batch: at most so many images go through the network at once; halved when the memory is too small.
        precision: `fp32` uses the network as it is. `bf16` computes class activation maps of several images on a
            faster copy of it, in bfloat16, else in float32 with batch norms folded. The copy has to give the first
            image's map as the network does, within 0.7 % of its largest value, so that all stay within 2 %; the
            certificate says which copy it was and what the difference is. `auto` is `bf16` where a short measurement
            shows that the processor is faster in it, else the float32 copy. Other methods compute in float32.
        progress: called as (label, done, total).
        options: the method's own, such as `steps`.

    Raises:
        InputError: an unknown method, option, target or layer, images or scores that cannot be explained.

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    >>> found = explain(network, torch.ones(2, 1, 8, 8), target=1)
    >>> found.layer, tuple(found.values.shape), tuple(found.heat().shape)
    ('1', (2, 1, 6, 6), (2, 8, 8))
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise unknown("method", method, METHODS)
    _check_call(chosen, layer, batch, precision, options)
    network = bare(network)
    images = images_for(network, images)
    with _clear_errors(network, images):
        layer = _layer(network, images, chosen, layer)
        target = _target(network, images, target, classes, batch)
        run = _Run(chosen, images, target, layer, seed, batch, progress, options)
        found = _fast(network, run, precision) if precision != "fp32" and is_cam(chosen) else run.through(network)
    if not bool(found.values.isfinite().all()):
        raise InputError(
            f"{method} meets numbers beyond float32 in this network, though its scores are finite; take another method"
            + (" or another baseline" if "baseline" in chosen.options else "")
        )
    return run.attribution(found)


def _check_call(
    method: Method, layer: str | None, batch: int, precision: Precision, options: Mapping[str, Any]
) -> None:
    for name in options:
        if name not in method.options:
            known = ", ".join(f"'{option}'" for option in method.options) or "none"
            raise InputError(f"method '{method.name}' has no option '{name}'; its options are: {known}")
    if layer is not None and not method.needs_layer:
        raise InputError(f"method '{method.name}' reads no layer, found layer '{layer}'; leave it out")
    if batch < 1:
        raise InputError(f"batch must be at least 1, found {batch}")
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))


@contextmanager
def _clear_errors(network: nn.Module, images: Tensor) -> Iterator[None]:
    """Where the network itself cannot take such images, say that, instead of what broke inside it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a foreign network may fail in any way
        _check_that_it_runs(network, images[:1])
        raise error


def _check_that_it_runs(network: nn.Module, image: Tensor) -> None:
    try:
        with untouched(network), torch.no_grad():
            network.eval()
            network(image)
    except Exception as error:  # as above
        size = "x".join(map(str, image.shape[1:]))
        reason = " ".join(str(error).split())
        raise InputError(f"{type(network).__name__} does not run on images of {size}: {reason}") from error


def _layer(network: nn.Module, images: Tensor, method: Method, layer: str | None) -> str:
    if not method.needs_layer:
        return ""
    if layer is None:
        # CAM has no choice: it is defined at the last maps alone, however small they are.
        return good_layer(network, images, side=1) if method.name == "cam" else good_layer(network, images)
    find_module(network, module_name(layer))
    return layer


def _target(network: nn.Module, images: Tensor, target: AnyTarget, classes: Sequence[str], batch: int) -> Target:
    if target is None:
        return _predicted(network, images, classes, batch)
    parsed = target if isinstance(target, Target) else parse_target(target, classes)
    if len(parsed.plus) not in (1, len(images)):
        raise InputError(
            f"expected one target for all images or one for each of {len(images)}, found {len(parsed.plus)}"
        )
    return parsed


def _predicted(network: nn.Module, images: Tensor, classes: Sequence[str], batch: int) -> Target:
    with opened(network) as forward, torch.no_grad():
        logits = torch.cat(in_chunks(len(images), batch, lambda part, _: forward(images[part])[""])[0])
    need_finite(logits, "the network's output", network, images)
    return parse_target(logits.argmax(1), classes)


@dataclass(frozen=True)
class _Job(Job):
    """A job that remembers whether anything was drawn: a certificate names no seed that plays no part."""

    draws: list[int] = field(default_factory=list)

    def generator(self) -> torch.Generator:
        self.draws.append(self.seed)
        return super().generator()


@dataclass(frozen=True)
class _Run:
    """One call of `explain`, checked and complete."""

    method: Method
    images: Tensor
    target: Target
    layer: str
    seed: int
    batch: int
    progress: Progress | None
    options: Mapping[str, Any]
    draws: list[int] = field(default_factory=list)

    def through(self, network: nn.Module) -> Found:
        """What the method finds on this network."""
        with opened(network) as forward:
            pieces, notes = in_chunks(len(self.images), self.batch, partial(self._piece, forward))
        found = joined(pieces)
        return replace(found, notes=(*notes, *found.notes))

    def _piece(self, forward: Forward, part: slice, batch: int) -> Found:
        images, target = self.images[part], self.target.of(part)
        report = self._progress(part)
        job = _Job(forward, images, target, self.layer, self.seed, batch, report, self.draws)
        found = self.method.compute(job, **self.options)
        if "score" not in found.check:
            with torch.no_grad():
                score = forward.scores(images, target)[0]
            found = replace(found, check={"score": score, **found.check})
        need_finite(found.check["score"], f"the score of {target.name(0)}", forward.network, images)
        if self.progress:
            self.progress(self.method.name, part.stop, len(self.images))
        return found

    def _progress(self, part: slice) -> Progress | None:
        """Of one chunk, told as that of all images."""
        report, count = self.progress, len(self.images)
        if report is None:
            return None
        size = part.stop - part.start
        return lambda label, done, total: report(label, part.start * total + done * size, count * total)

    def attribution(self, found: Found) -> Attribution:
        """The result, with its certificate."""
        check = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in found.check.items()}
        parameters = {"target": list(self.target.names), "layer": self.layer, **self.method.options, **self.options}
        return Attribution(
            method=self.method.name,
            target=self.target,
            layer=self.layer,
            values=found.values,
            scores=found.check["score"],
            size=(self.images.shape[2], self.images.shape[3]),
            certificate=Certificate(
                self.method.name,
                {**parameters, **found.parameters},
                self.seed if self.draws else None,
                check,
                found.notes,
            ),
        )


def _fast(network: nn.Module, run: _Run, precision: Precision) -> Found:
    """What the method finds on the fastest copy of the network that is good enough for the first image, if any."""
    if len(run.images) == 1:
        return run.through(network)
    first = replace(run, images=run.images[:1], target=run.target.of([0]), progress=None)
    exact = first.through(network).values
    reason = "no copy of the network computes the same"
    low = precision == "bf16" or bf16_pays(run.images.device.type)
    for dtype in [torch.bfloat16, torch.float32] if low else [torch.float32]:
        twin = fast_twin(network, run.images[:2], keep=[run.layer], dtype=dtype)
        if twin.network is None:
            reason = twin.reason
        elif twin.dtype == dtype:
            known = _good_for.setdefault(twin.network, set())
            # Where it was good enough before, all images at once save a pass for the first alone.
            probe = run if (run.method.name, run.layer) in known and len(run.images) <= run.batch else first
            found = _on(twin, probe)
            gap = float((found.values[:1] - exact).abs().max() / exact.abs().max().clamp_min(1e-30))
            if gap <= TOLERANCE / _SPREAD:
                known.add((run.method.name, run.layer))
                return _noted(found if probe is run else _on(twin, run), twin, gap)
            reason = f"a copy in {_precision(twin)} differs by {gap:.2%} in the first image's map"
    found = run.through(network)
    return replace(found, notes=(*found.notes, f"computed on the network itself: {reason}"))


def _on(twin: Twin, run: _Run) -> Found:
    assert twin.network is not None
    with twin.computing():
        return replace(run, images=run.images.contiguous(memory_format=torch.channels_last)).through(twin.network)


def _noted(found: Found, twin: Twin, gap: float) -> Found:
    note = (
        f"computed on a copy of the network in {_precision(twin)}; for the first image the map differs from the "
        f"network's own by {gap:.2%} of its largest value"
    )
    return replace(found, check={**found.check, "fp32_difference": gap}, notes=(*found.notes, note))


def _precision(twin: Twin) -> str:
    return "bfloat16" if twin.dtype == torch.bfloat16 else "float32 with batch norms folded"
