"""Gradients of a target's score with respect to the image: plain, times the image, and averaged over noise.

What is explained is always the sum of the scores over the batch and never their mean, so that the map of an image is
the same in every batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.attribution.method import Found, Job, Method, named
from cutaway.lenses.capture import need_finite
from cutaway.lenses.forward import Forward
from cutaway.lenses.targets import Target


def score_gradient(forward: Forward, images: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The target's scores, float (N,), and their gradients, (N, C, H, W), for images that all fit in one pass.

    Raises:
        InputError: a score that no gradient connects with the image, or values that are not finite.
    """
    images = images.detach().clone().requires_grad_()
    scores, _ = forward.scores(images, target)
    gradient = gradient_of(scores, images, forward)
    return checked(forward, images, target, scores, gradient)


def checked(
    forward: Forward, images: Tensor, target: Target, scores: Tensor, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The scores and gradients that a pass gave for `images`, both float; None for no gradient.

    Raises:
        InputError: as `score_gradient`.
    """
    if gradient is None:
        kind = type(forward.network).__name__
        raise InputError(
            f"the score of {target.name(0)} has no gradient with respect to the image: {kind} detaches or rounds it, "
            "or works under no_grad; choose a method that needs none, such as 'occlusion'"
        )
    need_finite(scores, f"the score of {target.name(0)}", forward.network, images)
    need_finite(gradient, f"the gradient of {target.name(0)}", forward.network, images)
    return scores.detach().float(), gradient.float()


def gradient_of(scores: Tensor, leaf: Tensor, forward: Forward) -> Tensor | None:
    """The gradient of the sum of scores with respect to `leaf`, or None if they do not depend on it."""
    if not scores.requires_grad:
        return None
    try:
        return torch.autograd.grad(scores.sum(), leaf, allow_unused=True)[0]
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        raise InputError(
            f"{type(forward.network).__name__} has no gradient: an operation in place overwrites what another one's "
            "gradient needs; train it or run its backward pass with torch.autograd.set_detect_anomaly to see which"
        ) from error


def gradients(job: Job, label: str) -> tuple[Tensor, Tensor]:
    """Scores, float32 (N,), and gradients, float32 (N, C, H, W), of a whole job, batch by batch."""
    values = torch.empty_like(job.images, dtype=torch.float32)
    scores = values.new_empty(len(values))
    for rows, _ in pieces(job, 1, label):
        scores[rows], values[rows] = score_gradient(job.forward, job.images[rows], job.target.of(rows))
    return scores, values


def pieces(job: Job, variants: int, label: str) -> Iterator[tuple[slice, slice]]:
    """Which images, and which of their `variants`, go through the network together: at most `job.batch` at once.

    All variants of some images come in order before the next images. Each piece counts as done when the next is asked.
    """
    images, done = len(job.images), 0
    for first in range(0, images, job.batch):
        rows = slice(first, min(first + job.batch, images))
        count = rows.stop - rows.start
        together = max(1, job.batch // count)
        for start in range(0, variants, together):
            some = slice(start, min(start + together, variants))
            yield rows, some
            done += count * (some.stop - some.start)
            if job.progress is not None:
                job.progress(label, done, images * variants)


def variant_gradients(job: Job, rows: slice, points: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (K, n) and gradients (K, n, C, H, W) at K variants of the images of `rows`, (K, n, C, H, W)."""
    variants, count = points.shape[:2]
    target = job.target.of(list(range(rows.start, rows.stop)) * variants)
    scores, values = score_gradient(job.forward, points.flatten(0, 1), target)
    return scores.view(variants, count), values.view(points.shape)


def saliency(job: Job) -> Found:
    """The gradient of the score, raw and signed (Simonyan, Vedaldi and Zisserman, 2014)."""
    scores, values = gradients(job, "saliency")
    return Found(values, {"score": scores})


def input_x_gradient(job: Job) -> Found:
    """The image times the gradient (Shrikumar et al., 2016).

    For a network of convolutions, ReLUs and pooling without biases the values sum to the score; `completeness_gap` is
    the score less that sum, which the biases hold.
    """
    scores, values = gradients(job, "input-x-gradient")
    values = values * job.images.float()
    return Found(values, {"score": scores, "completeness_gap": scores - values.flatten(1).sum(1)})


@dataclass
class _Moments:
    """Mean and variance of values that come one after the other (Welford, 1962), so that none need be kept."""

    mean: Tensor
    squares: Tensor
    count: int = 0

    def add(self, value: Tensor) -> None:
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    @property
    def variance(self) -> Tensor:
        return self.squares / self.count

    def standard_error(self) -> Tensor:
        """Length of the mean's standard error over the length of the mean, (N,): how much is still noise."""
        error = (self.squares.flatten(1).sum(1) / max(1, self.count - 1) / self.count).sqrt()
        length = self.mean.flatten(1).norm(dim=1).clamp_min(1e-30)
        return torch.where(error == 0, error, error / length)


def _noisy(job: Job, samples: int, noise: float, label: str) -> _Moments:
    """Moments of the gradient over noisy copies of each image."""
    if samples < 1 or noise < 0:
        raise InputError(f"samples must be at least 1 and noise at least 0; found samples={samples} and noise={noise}")
    images = job.images.float()
    zeros = torch.zeros_like(images)
    deviation = noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    total, draws = _Moments(zeros.clone(), zeros.clone()), job.generator()
    # Without noise all copies are alike, and one is exactly the gradient.
    for rows, some in pieces(job, samples if noise else 1, label):
        if some.start == 0:
            draws, part = job.generator(), _Moments(total.mean[rows], total.squares[rows])
        drawn = torch.stack([torch.randn(images.shape[1:], generator=draws) for _ in range(some.start, some.stop)])
        points = images[rows] + deviation[rows] * drawn.to(images.device).unsqueeze(1)
        for value in variant_gradients(job, rows, points)[1]:
            part.add(value)
        total.count = part.count
    return total


def smoothgrad(job: Job, *, samples: int = 25, noise: float = 0.15) -> Found:
    """The mean gradient over copies of the image with Gaussian noise (Smilkov et al., 2017).

    Args:
        samples: noisy copies per image; the standard error of the mean falls with their square root.
        noise: the noise's standard deviation as a share of the image's range of values; 0 gives the plain gradient.
    """
    moments = _noisy(job, samples, noise, "smoothgrad")
    return Found(moments.mean, {"standard_error": moments.standard_error()})


def vargrad(job: Job, *, samples: int = 25, noise: float = 0.15) -> Found:
    """The variance of the gradient over copies of the image with Gaussian noise (Adebayo et al., 2018).

    The sum of squares is divided by `samples`, so that with one sample, and without noise, it is zero.

    Args:
        samples: noisy copies per image.
        noise: the noise's standard deviation as a share of the image's range of values.
    """
    return Found(_noisy(job, samples, noise, "vargrad").variance)


_NOISE = {"samples": 25, "noise": 0.15}

METHODS = named(
    [
        Method(
            name="saliency",
            compute=saliency,
            kind="pixels",
            summary="the gradient of the score",
            paper="Simonyan et al. 2014",
            combine="max",
        ),
        Method(
            name="input-x-gradient",
            compute=input_x_gradient,
            kind="pixels",
            summary="the image times the gradient of the score",
            paper="Shrikumar et al. 2016",
        ),
        Method(
            name="smoothgrad",
            compute=smoothgrad,
            kind="pixels",
            summary="the mean gradient under noise",
            paper="Smilkov et al. 2017",
            options=_NOISE,
            combine="max",
        ),
        Method(
            name="vargrad",
            compute=vargrad,
            kind="pixels",
            summary="the variance of the gradient under noise",
            paper="Adebayo et al. 2018",
            options=_NOISE,
            combine="max",
            signed=False,
        ),
    ]
)
