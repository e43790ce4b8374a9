"""Augmentation of whole batches on their device, where each sample's change is a pure function of (seed, epoch, id)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cutaway.data.randomness import below_tensor, hash_tensor, key, uniform_tensor
from cutaway.errors import InputError, unknown

FLIPS = ("none", "random", "alternating")
_FLIP, _SHIFT_Y, _SHIFT_X, _CUT_Y, _CUT_X, _BRIGHTNESS, _CONTRAST, _SATURATION = range(1, 9)
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """What to change: `flip` left-right, `shift` in pixels, `cutout` side in pixels, `jitter` strength in 0 ... 1.

    `flip="random"` tosses a coin for every sample and epoch. `flip="alternating"` (Jordan, 2024, airbench) tosses it
    once a sample and then flips every other epoch, so two epochs in a row show both sides.
    """

    flip: Literal["none", "random", "alternating"] = "none"
    shift: int = 0
    cutout: int = 0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise unknown("flip", str(self.flip), FLIPS)
        if self.shift < 0 or self.cutout < 0:
            raise InputError(f"shift and cutout are pixels, 0 or more; found shift {self.shift}, cutout {self.cutout}")
        if not 0.0 <= self.jitter <= 1.0:
            raise InputError(f"jitter is a strength from 0 to 1; found {self.jitter}")


def augment(images: Tensor, augmentation: Augmentation, *, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """A changed copy of `images`, of the same type, device and shape.

    Args:
        images: uint8 0 ... 255, or floating point 0 ... 1, (B, C, H, W).
        augmentation: what to change; first flip and shift, then jitter, then cutout.
        seed: the run's seed.
        epoch: the epoch's number; any integer.
        ids: int64 (B,), the sample each image is. A sample's change does not depend on the batch it is in.
    """
    _check(images, augmentation, ids)
    ids = ids.to(images.device)
    images = _flip_and_shift(images, augmentation, seed, epoch, ids)
    if augmentation.jitter:
        images = _jitter(images, augmentation.jitter, seed, epoch, ids)
    if augmentation.cutout:
        images = _cutout(images, augmentation.cutout, seed, epoch, ids)
    return images


def _check(images: Tensor, augmentation: Augmentation, ids: Tensor) -> None:
    if images.ndim != 4 or ids.shape != images.shape[:1]:
        found = f"images {tuple(images.shape)} and ids {tuple(ids.shape)}"
        raise InputError(f"augment needs images (B, C, H, W) and ids (B,); found {found}")
    if augmentation.shift >= min(images.shape[2:]):
        size = f"{images.shape[2]}x{images.shape[3]}"
        raise InputError(
            f"a shift of {augmentation.shift} pixels is too far for images of {size}; choose a smaller one"
        )


def _flip_and_shift(images: Tensor, augmentation: Augmentation, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """Flip and shift as one gather: each output pixel looks up the input pixel it comes from."""
    if augmentation.flip == "none" and not augmentation.shift:
        return images.clone()
    count, channels, height, width = images.shape
    rows = torch.arange(height, device=ids.device).expand(count, height)
    columns = torch.arange(width, device=ids.device).expand(count, width)
    if augmentation.shift:
        rows = _reflect(rows + _offset(augmentation.shift, key(seed, epoch, _SHIFT_Y), ids), height)
        columns = _reflect(columns + _offset(augmentation.shift, key(seed, epoch, _SHIFT_X), ids), width)
    flipped = _flipped(augmentation.flip, seed, epoch, ids)
    columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, height * width)
    moved = images.reshape(count, channels, height * width).gather(2, source.expand(count, channels, height * width))
    return moved.view(images.shape)


def _flipped(flip: str, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """Which samples are mirrored, bool (B,)."""
    if flip == "random":
        return hash_tensor(key(seed, epoch, _FLIP), ids) < 0
    if flip == "alternating":
        return (hash_tensor(key(seed, _FLIP), ids) < 0) ^ bool(epoch % 2)
    return torch.zeros_like(ids, dtype=torch.bool)


def _offset(shift: int, chain: int, ids: Tensor) -> Tensor:
    return (below_tensor(chain, ids, 2 * shift + 1) - shift)[:, None]


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Positions mirrored at the first and last pixel, which are not repeated: ... 2 1 | 0 1 2 ..."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _jitter(images: Tensor, strength: float, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """Saturation, brightness, then contrast about mid-grey, each by a factor in 1 - strength ... 1 + strength.

    The three are one linear map of a pixel and its luma, so the pixels are passed over as few times as possible.
    """
    middle = 0.5 if images.is_floating_point() else 127.5
    contrast = _factor(strength, key(seed, epoch, _CONTRAST), ids)
    gain = contrast * _factor(strength, key(seed, epoch, _BRIGHTNESS), ids)
    saturation = _factor(strength, key(seed, epoch, _SATURATION), ids)
    pixels = images.float()
    if images.shape[1] == len(_LUMA):
        luma = sum(weight * pixels[:, [channel]] for channel, weight in enumerate(_LUMA))
        result = pixels * (saturation * gain) + luma * ((1 - saturation) * gain)
    else:
        result = pixels * gain
    result += middle * (1 - contrast)
    return result.to(images.dtype) if images.is_floating_point() else result.round_().clamp_(0, 255).to(images.dtype)


def _factor(strength: float, chain: int, ids: Tensor) -> Tensor:
    return (1 + strength * (2 * uniform_tensor(chain, ids) - 1)).view(-1, 1, 1, 1)


def _cutout(images: Tensor, side: int, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """A square of mid-grey whose centre is any pixel, cut off at the border (DeVries & Taylor, 2017)."""
    height, width = images.shape[2:]
    top = below_tensor(key(seed, epoch, _CUT_Y), ids, height) - side // 2
    left = below_tensor(key(seed, epoch, _CUT_X), ids, width) - side // 2
    inside = _span(top, side, height)[:, None, :, None] & _span(left, side, width)[:, None, None, :]
    return images.masked_fill(inside, 0.5 if images.is_floating_point() else 128)


def _span(start: Tensor, side: int, size: int) -> Tensor:
    positions = torch.arange(size, device=start.device)
    return (positions >= start[:, None]) & (positions < start[:, None] + side)
