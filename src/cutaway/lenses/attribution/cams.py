"""Class activation maps: a layer's maps, each times a weight, summed over the channels.

All share one way, in `look` and `_cam`: the network runs to the layer without a graph and on with one, the target's
gradient at the layer is taken, and a small function of maps and gradient says how the maps are weighed. The sums are
returned raw and signed, at the layer's size: the ReLU with which most papers end hides the evidence against the
target, and a picture can still leave that out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.attribution.backprop import METHODS as BACKPROP
from cutaway.lenses.attribution.layers import LinearHead, linear_head
from cutaway.lenses.attribution.method import Compute, Found, Job, Method, named
from cutaway.lenses.capture import need_finite


@dataclass(frozen=True)
class Look:
    """What a class activation map is made of, for N images.

    Attributes:
        maps: what the layer returned, at least float32 (N, K, h, w).
        gradient: of the target's score with respect to it, likewise; empty where it was not asked for.
        scores: the target's, (N,).
        logits: (N, classes); None where the target is a unit inside the network.
    """

    maps: Tensor
    gradient: Tensor
    scores: Tensor
    logits: Tensor | None


_NEGATIVE = "the method is derived for maps after a ReLU, and layer '{}' returns negative values"
Weigh = Callable[[Tensor, Tensor], Tensor]
Check = Callable[[Job, Look, Tensor], dict[str, Tensor]]


def look(job: Job, *, gradient: bool = True) -> Look:
    """One pass: the layer's maps, the target's score, and its gradient at the layer.

    Raises:
        InputError: a layer that returns no maps, a target that does not depend on it, or scores that are not finite.
    """
    scores, outputs = job.forward.scores(job.images, job.target, [job.layer], start=job.layer if gradient else "")
    need_finite(scores, f"the score of {job.target.name(0)}", job.forward.network, job.images)
    output = outputs[job.layer]
    if output.ndim != 4:
        raise InputError(
            f"layer '{job.layer}' returns {tuple(output.shape)}, a class activation map needs maps (N, K, h, w); "
            "choose a layer with maps"
        )
    slope = _gradient(job, scores, output) if gradient else output.new_zeros(0, 0, 0, 0)
    logits = outputs[""].detach() if "" in outputs else None
    return Look(_maps(output), _maps(slope), scores.detach(), logits)


def _gradient(job: Job, scores: Tensor, output: Tensor) -> Tensor:
    """Of the sum of the scores, so that an image's gradient does not depend on its batch."""
    if scores.requires_grad:
        (gradient,) = torch.autograd.grad(scores.sum(), output, allow_unused=True)
        if gradient is not None:
            return gradient
    raise InputError(
        f"the score of {job.target.name(0)} does not depend on layer '{job.layer}'; choose a layer that comes before it"
    )


def _maps(value: Tensor) -> Tensor:
    value = value.detach()
    return value.to(torch.promote_types(value.dtype, torch.float32))


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """Float32 (N, 1, h, w): the maps (N, K, h, w) times the weights, (N, K, 1, 1) or one for each value, summed."""
    return (maps * weights).sum(1, keepdim=True).float()


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above / below`, and zero where `below` is: a flat map has no evidence, and gives zeros instead of NaN."""
    return torch.where(below == 0, 0, above / torch.where(below == 0, 1, below))


def _grad_cam(_maps: Tensor, gradient: Tensor) -> Tensor:
    return gradient.mean((2, 3), keepdim=True)


def _grad_cam_plus_plus(maps: Tensor, gradient: Tensor) -> Tensor:
    # The paper's alpha = g^2 / (2 g^2 + sum(A) g^3), cancelled: no epsilon is needed that would rival small gradients.
    positive = gradient.clamp_min(0)
    return ratio(positive, 2 + maps.sum((2, 3), keepdim=True) * positive).sum((2, 3), keepdim=True)


def _xgrad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    return ratio((maps * gradient).sum((2, 3), keepdim=True), maps.sum((2, 3), keepdim=True))


def _hires_cam(_maps: Tensor, gradient: Tensor) -> Tensor:
    return gradient


def _layer_cam(_maps: Tensor, gradient: Tensor) -> Tensor:
    return gradient.clamp_min(0)


def _no_check(_job: Job, look: Look, _values: Tensor) -> dict[str, Tensor]:
    return {}


def _cam_identity(job: Job, look: Look, values: Tensor) -> dict[str, Tensor]:
    """Behind global average pooling and a linear layer, h*w times Grad-CAM is CAM: the largest relative difference."""
    head = _head(job, look)
    if head is None or not head.pooled:
        return {}
    weights, _ = _class_weights(job, look, head)
    cam = weighted_sum(look.maps, weights[:, :, None, None])
    places = values.shape[2] * values.shape[3]
    return {"cam_identity": ratio(_largest(places * values - cam), _largest(cam))}


def _logit_gap(job: Job, look: Look, values: Tensor) -> dict[str, Tensor]:
    """Before a linear head, the map's sum and the bias are the logit: the difference, relative to its largest part."""
    head = _head(job, look)
    if head is None:
        return {}
    _, bias = _class_weights(job, look, head)
    total = values.flatten(1).sum(1)
    scale = torch.stack([total.abs(), bias.abs(), look.scores.abs()]).amax(0)
    return {"logit_gap": ratio((total + bias - look.scores).abs(), scale)}


def _head(job: Job, look: Look) -> LinearHead | None:
    return None if look.logits is None else linear_head(job.forward.network, look.maps, look.logits)


def _class_weights(job: Job, look: Look, head: LinearHead) -> tuple[Tensor, Tensor]:
    """The head's weights and bias for the target of each image: rows of its matrix, or a difference of two."""
    assert look.logits is not None
    logits = look.logits.float().requires_grad_()
    (rows,) = torch.autograd.grad(job.target.scores({"": logits}).sum(), logits)
    return rows @ head.weight, rows @ head.bias


def _largest(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(1)


def _cam(weigh: Weigh, check: Check = _no_check, *, after_relu: bool = False) -> Compute:
    """The method that weighs in this way; `after_relu` where the paper derives it for maps that are not negative."""

    def compute(job: Job) -> Found:
        seen = look(job)
        values = weighted_sum(seen.maps, weigh(seen.maps, seen.gradient))
        notes = (_NEGATIVE.format(job.layer),) if after_relu and bool((seen.maps < 0).any()) else ()
        return Found(values, {"score": seen.scores.float(), **check(job, seen, values)}, notes)

    return compute


def cam(job: Job) -> Found:
    """Zhou et al. (2016): the maps times the linear layer's weights for the class, without its bias.

    Raises:
        InputError: a network whose logits are not linear in the means of the layer's maps, or a target that is a unit.
    """
    if job.target.layer:
        raise InputError(f"CAM explains classes, found the unit {job.target.name(0)}; use 'grad-cam' for units")
    seen = look(job, gradient=False)
    head = _head(job, seen)
    if head is None or not head.pooled:
        raise InputError(
            f"CAM needs global average pooling and one linear layer behind layer '{job.layer}', and the logits of "
            f"{type(job.forward.network).__name__} are not that; use 'grad-cam'"
        )
    weights, bias = _class_weights(job, seen, head)
    values = weighted_sum(seen.maps, weights[:, :, None, None])
    total = values.mean((1, 2, 3)) + bias
    scale = torch.stack([total.abs(), bias.abs(), seen.scores.abs()]).amax(0)
    return Found(values, {"score": seen.scores.float(), "logit_gap": ratio((total - seen.scores).abs(), scale)})


def eigen_cam(job: Job) -> Found:
    """Muhammad & Yeasin (2020): the maps times the first right singular vector of their (places, channels) matrix.

    The target plays no part. A singular vector has no sign of its own: here the map's largest magnitude is positive,
    which for maps after a ReLU makes all of it positive.
    """
    seen = look(job, gradient=False)
    matrix = seen.maps.flatten(2).transpose(1, 2)
    # The smaller of the two Gram matrices is not used: squaring would halve the digits.
    _, singular, vectors = torch.linalg.svd(matrix, full_matrices=False)
    values = weighted_sum(seen.maps, vectors[:, 0, :, None, None])
    flat = values.flatten(1)
    sign = flat.gather(1, flat.abs().argmax(1, keepdim=True)).sign()
    share = ratio(singular[:, 0] ** 2, (singular**2).sum(1)).float()
    return Found(values * sign[:, :, None, None], {"score": seen.scores.float(), "explained_share": share})


def guided_grad_cam(job: Job) -> Found:
    """Selvaraju et al. (2017): guided backpropagation times Grad-CAM, upsampled, without its negative part.

    The ReLU belongs to it: a negative weight would turn the evidence of guided backpropagation into its opposite.
    """
    coarse = METHODS["grad-cam"].compute(job)
    fine = BACKPROP["guided-backprop"].compute(job)
    size = (job.images.shape[2], job.images.shape[3])
    weights = F.interpolate(coarse.values.clamp_min(0), size, mode="bilinear", align_corners=False)
    return Found(fine.values * weights, coarse.check, (*coarse.notes, *fine.notes))


METHODS = named(
    [
        Method(
            name="grad-cam",
            compute=_cam(_grad_cam, _cam_identity),
            kind="map",
            summary="maps weighed by the mean gradient of the score",
            paper="Selvaraju et al. 2017",
            needs_layer=True,
        ),
        Method(
            name="grad-cam++",
            compute=_cam(_grad_cam_plus_plus, after_relu=True),
            kind="map",
            summary="maps weighed by positive gradients, corrected for how much of a map they cover",
            paper="Chattopadhay et al. 2018",
            needs_layer=True,
        ),
        Method(
            name="xgrad-cam",
            compute=_cam(_xgrad_cam, _logit_gap, after_relu=True),
            kind="map",
            summary="maps weighed by their gradient, averaged where they are active",
            paper="Fu et al. 2020",
            needs_layer=True,
        ),
        Method(
            name="hires-cam",
            compute=_cam(_hires_cam, _logit_gap),
            kind="map",
            summary="maps times their gradient, place by place",
            paper="Draelos & Carin 2020",
            needs_layer=True,
        ),
        Method(
            name="layer-cam",
            compute=_cam(_layer_cam),
            kind="map",
            summary="maps times their positive gradient, place by place",
            paper="Jiang et al. 2021",
            needs_layer=True,
        ),
        Method(
            name="eigen-cam",
            compute=eigen_cam,
            kind="map",
            summary="what the maps have in common: their first principal pattern; knows no target",
            paper="Muhammad & Yeasin 2020",
            needs_layer=True,
        ),
        Method(
            name="cam",
            compute=cam,
            kind="map",
            summary="maps weighed by the linear layer behind global average pooling",
            paper="Zhou et al. 2016",
            needs_layer=True,
        ),
        Method(
            name="guided-grad-cam",
            compute=guided_grad_cam,
            kind="pixels",
            summary="guided backpropagation where Grad-CAM is positive",
            paper="Selvaraju et al. 2017",
            combine="max",
            needs_layer=True,
        ),
    ]
)
