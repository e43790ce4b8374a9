"""Transformation robustness: an image must work a little shifted, scaled and turned, as natural images do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_ONE_IMAGE = 224.0  # the side for which the literature's distances in pixels were found


@dataclass(frozen=True)
class Robustness:
    """Random views of images, drawn anew each step and shared by all images of a batch.

    Padding, jitter, scaling, turning and jitter again (Olah et al., 2017) are one affine map, so that the pixels are
    interpolated once and not five times; what lies outside the image is the network's mean colour.

    Attributes:
        shift: at most so many pixels both ways.
        scales: smallest and largest factor.
        degrees: turned by at most so many.
        crop: None, or the smallest and largest part of the side that is seen, anywhere in the image (MACO).
        noise: deviation of the noise that is added, in the network's units.
    """

    shift: float = 0.0
    scales: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0
    crop: tuple[float, float] | None = None
    noise: float = 0.0

    def draw(self, generator: torch.Generator, height: int, width: int) -> Tensor:
        """The affine map of one step, float32 (2, 3), from places of the view to places of the image in -1..1."""
        across, down, size, turn = (torch.rand(4, generator=generator) * 2 - 1).tolist()
        if self.crop:
            side = _between(self.crop, size)
            return torch.tensor([[side, 0.0, across * (1 - side)], [0.0, side, down * (1 - side)]])
        angle, zoom = math.radians(turn * self.degrees), 1 / _between(self.scales, size)
        cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
        # Turned in pixels, not in the stretched places of an image that is not square.
        return torch.tensor(
            [
                [cosine, -sine * height / width, 2 * across * self.shift / width],
                [sine * width / height, cosine, 2 * down * self.shift / height],
            ]
        )

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """One random view of `inputs` (N, C, H, W), of the same shape."""
        height, width = inputs.shape[2:]
        place = self.draw(generator, height, width).to(inputs).expand(len(inputs), 2, 3)
        grid = F.affine_grid(place, list(inputs.shape), align_corners=False)
        seen = F.grid_sample(inputs, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if self.noise:
            seen = seen + self.noise * torch.randn(*inputs.shape[1:], generator=generator).to(inputs)
        return seen


def pixels_of(distance: float, height: int, width: int) -> float:
    """A distance in pixels that was found at a side of 224, for this size: 16 stays 16 at 224 and is 2 at 28."""
    return distance * min(height, width) / _ONE_IMAGE


def _between(ends: tuple[float, float], place: float) -> float:
    """The point at `place` in -1..1 between two ends."""
    return ends[0] + (ends[1] - ends[0]) * (place + 1) / 2
