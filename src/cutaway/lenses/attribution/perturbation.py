"""Attribution by perturbation: what the score does when a part of the image is covered. Needs no gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.computing.patched import patched
from cutaway.errors import InputError
from cutaway.lenses.attribution.method import Found, Job, Method, named
from cutaway.lenses.attribution.quick import quick

# Below this correlation between the maps of the two halves of its samples, RISE says that they are too few.
ENOUGH = 0.8
# On smaller images it costs more to find out what a window leaves as it is than to compute it.
SMALLEST_BOXED = 64
BOXES_TOLERANCE = 1e-4


def occlusion(
    job: Job,
    *,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: float | Tensor = 0.0,
) -> Found:
    """Zeiler & Fergus (2014): how far the score drops when a window of the image is covered, for windows everywhere.

    A pixel's value is the mean drop over the windows that cover it, all colours together: positive where covering it
    lowers the score. Windows start at every multiple of the stride, and the last one is cut off at the image's edge, so
    that each pixel is covered. Values are (N, 1, H, W).

    Args:
        job: the batch.
        window: side of the window in pixels, or its (height, width); None for a sixth of the image's sides.
        stride: pixels from one window to the next, at most the window; None for half of it.
        baseline: what covered pixels show, in the network's input units: a number, or a tensor that broadcasts to
            (C, H, W). 0 is the mean colour where inputs are standardised.

    Raises:
        InputError: a window that does not fit the image, a stride that leaves gaps, a baseline of another shape.
    """
    sides = (job.images.shape[2], job.images.shape[3])
    windows, strides = _window(window, stride, sides)
    cover = _Cover(*(_intervals(*one).to(job.images.device) for one in zip(sides, windows, strides, strict=True)))
    base = _baseline(job, baseline)
    with torch.no_grad(), quick(job) as (fast, notes):
        score = fast.forward.scores(fast.images, fast.target)[0].double()
        empty = _scores_of(fast, base.expand_as(fast.images)).double()
        covered, gap = _covered_scores(fast, cover, base)
    chosen = {"window": list(windows), "stride": list(strides), "baseline": _described(baseline)}
    check = {"score": score.float(), "covered_score": empty.float(), "boxes_gap": gap.float()}
    return Found(cover.mean_drop(score[:, None] - covered).float(), check, notes, chosen)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _window(
    window: int | Sequence[int] | None, stride: int | Sequence[int] | None, sides: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the windows and of the steps between them."""
    windows = _pair(window) if window is not None else (max(1, round(sides[0] / 6)), max(1, round(sides[1] / 6)))
    if not all(1 <= one <= side for one, side in zip(windows, sides, strict=True)):
        raise InputError(
            f"window must be from 1 to the image's {sides[0]}x{sides[1]} pixels, found {windows[0]}x{windows[1]}"
        )
    strides = _pair(stride) if stride is not None else (max(1, windows[0] // 2), max(1, windows[1] // 2))
    if not all(1 <= step <= one for step, one in zip(strides, windows, strict=True)):
        raise InputError(
            f"stride must be from 1 to the window's {windows[0]}x{windows[1]} pixels, or some pixel is never covered; "
            f"found {strides[0]}x{strides[1]}"
        )
    return windows, strides


def _intervals(side: int, window: int, stride: int) -> Tensor:
    """Bool (windows, side): which pixels of one axis each window covers."""
    starts = torch.arange(0, side - window + stride, stride)[:, None]
    pixels = torch.arange(side)
    return (pixels >= starts) & (pixels < starts + window)


@dataclass(frozen=True)
class _Cover:
    """All windows: each interval of rows (a, H) with each interval of columns (b, W), bool; a * b windows."""

    rows: Tensor
    columns: Tensor

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def masks(self, windows: Tensor) -> Tensor:
        """Bool (n, 1, H, W): the pixels that the windows of these numbers cover."""
        rows, columns = self.rows[windows // len(self.columns)], self.columns[windows % len(self.columns)]
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    def versions(self, image: Tensor, base: Tensor, windows: Tensor) -> Tensor:
        """The image (1, C, H, W) behind each of these windows, as a tensor that knows what they leave as it is."""
        rows, columns = self.rows[windows // len(self.columns)], self.columns[windows % len(self.columns)]
        (top, down), (left, across) = _box(rows), _box(columns)
        inside = rows.gather(1, down)[:, None, :, None] & columns.gather(1, across)[:, None, None]
        content, covering = (value[:, down[:, :, None], across[:, None]].transpose(0, 1) for value in (image[0], base))
        return patched(image, torch.where(inside, covering, content), top, left)

    def mean_drop(self, drops: Tensor) -> Tensor:
        """(N, 1, H, W): for each pixel the mean of the drops, float64 (N, a * b), of the windows that cover it."""
        rows, columns = self.rows.to(drops.dtype), self.columns.to(drops.dtype)
        total = rows.T @ drops.view(len(drops), len(rows), len(columns)) @ columns
        return (total / (rows.sum(0)[:, None] * columns.sum(0)))[:, None]


def _box(intervals: Tensor) -> tuple[Tensor, Tensor]:
    """Where equally long boxes begin (n,) that hold the covered intervals (n, side), and their places (n, length)."""
    length = int(intervals.sum(1).max())
    starts = intervals.int().argmax(1).clamp_max(intervals.shape[1] - length)
    return starts, starts[:, None] + torch.arange(length, device=starts.device)


def _baseline(job: Job, baseline: float | Tensor) -> Tensor:
    value = torch.as_tensor(baseline).to(job.images)
    try:
        return value.expand(job.images.shape[1:])
    except RuntimeError as error:
        size, found = tuple(job.images.shape[1:]), tuple(value.shape)
        raise InputError(f"baseline must be a number or a tensor that broadcasts to {size}, found {found}") from error


def _described(baseline: float | Tensor) -> float | str:
    if isinstance(baseline, Tensor) and baseline.ndim:
        return f"a tensor {tuple(baseline.shape)} of mean {float(baseline.double().mean()):.6g}"
    return float(baseline)


def _scores_of(job: Job, images: Tensor) -> Tensor:
    return job.forward.scores(images, job.target)[0]


def _covered_scores(job: Job, cover: _Cover, base: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 (N, windows): the score of each image behind each window; and `boxes_gap` (N,).

    On large images only what the windows change is computed. A few windows are computed in full as well: the gap is the
    largest difference of their scores, as a share of the largest score. Where it is large, all are computed in full.
    """
    windows = torch.arange(len(cover), device=job.images.device)
    boxed = _in_boxes(job, cover, base) if min(job.images.shape[2:]) >= SMALLEST_BOXED else None
    if boxed is not None:
        some = windows[[0, len(windows) // 2, -1]]
        full = _in_full(replace(job, progress=None), cover, base, some)
        gap = (boxed[:, some] - full).abs().amax(1) / full.abs().amax(1).clamp_min(1e-30)
        if bool((gap <= BOXES_TOLERANCE).all()):
            return boxed, gap
    return _in_full(job, cover, base, windows), torch.zeros(len(job.images))


def _runs(values: Tensor, size: int) -> Iterator[Tensor]:
    return (values[first : first + size] for first in range(0, len(values), size))


def _in_full(job: Job, cover: _Cover, base: Tensor, windows: Tensor) -> Tensor:
    """Float64 (N, windows): scores of ordinary batches of covered images."""
    count, found = len(job.images) * len(windows), []
    for some in _runs(torch.arange(count, device=windows.device), job.batch):
        images = some // len(windows)
        covered = torch.where(cover.masks(windows[some % len(windows)]), base, job.images[images])
        found.append(job.forward.scores(_same_layout(covered, job.images), job.target.of(images.tolist()))[0].double())
        _report(job, "occlusion", int(some[-1]) + 1, count)
    return torch.cat(found).view(len(job.images), len(windows))


def _in_boxes(job: Job, cover: _Cover, base: Tensor) -> Tensor | None:
    """The same for all windows, computing what they change alone; None where the network does not take such images."""
    found = []
    windows = torch.arange(len(cover), device=job.images.device)
    try:
        for image in range(len(job.images)):
            for some in _runs(windows, job.batch):
                versions = cover.versions(job.images[image, None], base, some)
                found.append(job.forward.scores(versions, job.target.of([image]))[0].double())
                _report(job, "occlusion", image * len(cover) + int(some[-1]) + 1, len(job.images) * len(cover))
    except Exception:  # a foreign network may do with its input what only an ordinary tensor can take
        return None
    return torch.cat(found).view(len(job.images), len(cover))


def _same_layout(images: Tensor, like: Tensor) -> Tensor:
    innermost = like.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if innermost else torch.contiguous_format)


def _report(job: Job, label: str, done: int, total: int) -> None:
    if job.progress is not None:
        job.progress(label, done, total)


def rise(
    job: Job,
    *,
    samples: int = 2000,
    cells: int | None = None,
    visible: float = 0.5,
    baseline: float | Tensor = 0.0,
) -> Found:
    """Petsiuk et al. (2018): how far the score rises when a pixel is among those that a random mask leaves visible.

    Masks are small random grids, upsampled smoothly (bilinear) and shifted by a random part of a cell. With scores f of
    the masked images and masks M, values are mean((f - mean f) * M) / `visible`, (N, 1, H, W). The paper has
    mean(f * M) / `visible` with the class's probability as f: in expectation the same map plus the constant mean f.
    Here that constant is taken out before, because it only adds noise, and f is any target's score.

    Args:
        job: the batch; all images get the same masks, drawn from its seed.
        samples: masks. The check `halves_correlation` tells whether they suffice.
        cells: of the grid, on each side; None for 7 as in the paper, and fewer below 28 pixels.
        visible: probability that a cell is visible.
        baseline: what shows where nothing is visible, in the network's input units: a number, or a tensor that
            broadcasts to (C, H, W). 0 is the mean colour where inputs are standardised.

    Raises:
        InputError: an option out of its range, or a baseline of another shape.
    """
    sides = (job.images.shape[2], job.images.shape[3])
    cells = cells if cells is not None else max(1, min(7, min(sides) // 4))
    _check_options(samples, cells, visible, sides)
    masks = _Masks.draw(job, samples, cells, visible)
    base = _baseline(job, baseline)
    with torch.no_grad(), quick(job) as (fast, notes):
        score = _scores_of(fast, fast.images)
        scores = torch.cat(list(_masked_scores(fast, masks, base)), 1)
        values = masks.rise(scores, slice(0, samples))
        agreement = _correlation(*(masks.rise(scores, half) for half in _halves(samples)))
    check = {"score": score.float(), "mean_score": scores.mean(1).float(), "halves_correlation": agreement.float()}
    chosen = {"samples": samples, "cells": cells, "visible": visible, "baseline": _described(baseline)}
    if float(agreement.min()) < ENOUGH:
        notes += (f"maps of the two halves of the {samples} samples correlate by less than {ENOUGH}: use more samples",)
    return Found(values.float(), check, notes, chosen)


def _check_options(samples: int, cells: int, visible: float, sides: tuple[int, int]) -> None:
    if samples < 2:
        raise InputError(f"samples must be at least 2, found {samples}")
    if not 1 <= cells <= min(sides):
        raise InputError(f"cells must be from 1 to the image's shorter side of {min(sides)}, found {cells}")
    if not 0 < visible < 1:
        raise InputError(f"visible must be above 0 and below 1, found {visible}")


@dataclass(frozen=True)
class _Masks:
    """Smooth random masks: a few numbers each, drawn on the CPU, from which the pixels follow.

    Attributes:
        grids: float (samples, cells, cells) of 0 and 1, 1 for visible.
        rows: float (samples, H, cells), how much each cell counts in each row of pixels; sums to 1 over cells.
        columns: float (samples, W, cells), likewise.
        visible: the probability of a 1.
    """

    grids: Tensor
    rows: Tensor
    columns: Tensor
    visible: float

    @classmethod
    def draw(cls, job: Job, samples: int, cells: int, visible: float) -> _Masks:
        generator = job.generator()
        grids = (torch.rand(samples, cells, cells, generator=generator) < visible).float()
        rows, columns = (_upsampling(side, cells, samples, generator) for side in job.images.shape[2:])
        device = job.images.device
        return cls(grids.to(device), rows.to(device), columns.to(device), visible)

    def __len__(self) -> int:
        return len(self.grids)

    def of(self, samples: slice) -> Tensor:
        """Float (n, H, W), from 0 to 1."""
        return self.rows[samples] @ self.grids[samples] @ self.columns[samples].mT

    def chunks(self, size: int, within: slice) -> Iterator[slice]:
        for first in range(within.start, within.stop, size):
            yield slice(first, min(first + size, within.stop))

    def rise(self, scores: Tensor, within: slice) -> Tensor:
        """Float64 (N, 1, H, W): the map that the scores (N, samples) of some of the masks make."""
        mean = scores[:, within].mean(1, keepdim=True)
        total = torch.zeros((), dtype=torch.float64, device=scores.device)
        for some in self.chunks(64, within):
            total = total + torch.einsum("nm,mhw->nhw", scores[:, some] - mean, self.of(some).double())
        values: Tensor = total / ((within.stop - within.start) * self.visible)
        return values[:, None]


def _upsampling(side: int, cells: int, samples: int, generator: torch.Generator) -> Tensor:
    """Float (samples, side, cells): bilinear weights of the cells for each pixel, shifted by up to a cell."""
    cell = -(-side // cells)
    whole = F.interpolate(torch.eye(cells)[None], (cells + 1) * cell, mode="linear", align_corners=False)[0].T
    shifts = torch.randint(0, cell, (samples, 1), generator=generator)
    return whole[shifts + torch.arange(side)]


def _masked_scores(job: Job, masks: _Masks, base: Tensor) -> Iterator[Tensor]:
    """Float64 (N, n) for one run of masks after another: the scores of the images behind them."""
    for some in masks.chunks(job.batch, slice(0, len(masks))):
        visible = masks.of(some)[:, None].to(job.images.dtype)
        found = []
        for index, image in enumerate(job.images):
            masked = _same_layout(torch.lerp(base, image, visible), job.images)
            found.append(job.forward.scores(masked, job.target.of([index]))[0].double())
        yield torch.stack(found)
        _report(job, "rise", some.stop, len(masks))


def _halves(samples: int) -> tuple[slice, slice]:
    return slice(0, samples // 2), slice(samples // 2, samples)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """(N,): of two maps; 1 where both are flat and therefore agree."""
    a, b = (value.flatten(1) - value.flatten(1).mean(1, keepdim=True) for value in (first, second))
    norms = a.norm(dim=1) * b.norm(dim=1)
    cosine: Tensor = (a * b).sum(1) / norms.clamp_min(torch.finfo(a.dtype).tiny)
    return cosine.masked_fill(norms == 0, 1.0)


METHODS = named(
    [
        Method(
            name="occlusion",
            compute=occlusion,
            kind="map",
            summary="how far the score drops when a window of the image is covered",
            paper="Zeiler & Fergus 2014",
            options={"window": None, "stride": None, "baseline": 0.0},
        ),
        Method(
            name="rise",
            compute=rise,
            kind="map",
            summary="how far the score rises when a pixel is left visible by a random mask",
            paper="Petsiuk et al. 2018",
            options={"samples": 2000, "cells": None, "visible": 0.5, "baseline": 0.0},
        ),
    ]
)
