"""What is optimised: the numbers behind an image, so that a step in them is a step towards a natural image."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from cutaway.errors import InputError

# The square root of the covariance of ImageNet's colours, as published with Lucid (Olah et al., 2017): its columns are
# grey, blue to yellow, green to purple.
_COLOUR_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
_CONTRAST = 4.0  # Lucid's divisor: the sigmoid saturates later
_NOISE = 0.01  # standard deviation of the spectrum at the start


@dataclass(frozen=True)
class Space:
    """The images a network takes: shape (C, H, W), and mean and deviation per channel on the scale 0..1."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.shape[0]:
            raise InputError(f"{self.shape[0]} channels need as many means and deviations, found {len(self.mean)}")

    def sized(self, height: int, width: int) -> Space:
        """The same colours at another size."""
        return Space((self.shape[0], height, width), self.mean, self.std)

    def inputs(self, pixels: Tensor) -> Tensor:
        """Pixels 0..1 (N, C, H, W) as the network expects them."""
        return (pixels - self._of(self.mean, pixels)) / self._of(self.std, pixels)

    def pixels(self, inputs: Tensor) -> Tensor:
        """The inverse of `inputs`, not clamped."""
        return inputs * self._of(self.std, inputs) + self._of(self.mean, inputs)

    def clamp(self, inputs: Tensor) -> Tensor:
        """Inputs whose pixels are inside 0..1."""
        mean, std = self._of(self.mean, inputs), self._of(self.std, inputs)
        return inputs.clamp(-mean / std, (1 - mean) / std)

    @staticmethod
    def _of(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device, dtype=like.dtype).view(-1, 1, 1)


def generator(seed: int, name: str = "") -> torch.Generator:
    """Random numbers on the CPU, the same on every device, that depend on the seed and on nothing but the name."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))


def noise(shape: Sequence[int], seed: int, names: Sequence[str]) -> Tensor:
    """N(0, 1), float32 (N, *shape), one image a name: what an image begins with does not depend on its batch."""
    return torch.stack([torch.randn(*shape, generator=generator(seed, name)) for name in names])


class Parametrisation(Protocol):
    """Numbers that stand for images."""

    @property
    def rate(self) -> float:
        """The step of the optimizer in them."""
        ...

    def start(self, names: Sequence[str], seed: int) -> Tensor:
        """The numbers of the first images, float32 (N, ...), on the CPU."""
        ...

    def inputs(self, numbers: Tensor) -> Tensor:
        """The images (N, C, H, W) they stand for, as the network expects them, in the graph."""
        ...


@dataclass(frozen=True)
class Fourier:
    """Decorrelated colours in a spectrum that weighs low frequencies as natural images do (Olah et al., 2017).

    An image is `sigmoid(C irfft2(z / f) / 4 + logit(mean))`: z are the numbers (N, C, H, W/2 + 1, 2), f the frequency
    (at least that of one wave an image), C the square root of ImageNet's covariance of colours for three channels and
    nothing for any other number. It differs from Lucid in the last term: an empty spectrum is the network's mean
    colour, not grey.
    """

    space: Space
    rate: float = 0.05
    decorrelate: bool = True

    @cached_property
    def scale(self) -> Tensor:
        """One over the frequency, float32 (H, W/2 + 1)."""
        return natural_amplitudes(*self.space.shape[1:])

    def start(self, names: Sequence[str], seed: int) -> Tensor:
        """A faint spectrum of noise."""
        channels = self.space.shape[0]
        return _NOISE * noise((channels, *self.scale.shape, 2), seed, names)

    def inputs(self, numbers: Tensor) -> Tensor:
        """The images of these spectra."""
        spectrum = torch.view_as_complex(numbers) * self.scale.to(numbers)
        values = torch.fft.irfft2(spectrum, s=self.space.shape[1:], norm="ortho") / _CONTRAST
        return coloured(values, self.space, self.decorrelate)


@dataclass(frozen=True, eq=False)
class Maco:
    """A fixed magnitude of the spectrum, only the phase is optimised (MACO; Fel et al., 2023).

    An image is `sigmoid(C irfft2(r exp(i phase)) + logit(mean))`. The magnitudes r (C, H, W/2 + 1) are `magnitudes` of
    images, or by default one over the frequency with unit variance: the law that natural images follow.
    """

    space: Space
    magnitudes: Tensor
    rate: float = 0.3
    decorrelate: bool = True

    def start(self, names: Sequence[str], seed: int) -> Tensor:
        """Random phases."""
        shape = self.magnitudes.shape
        draws = [torch.rand(*shape, generator=generator(seed, name)) for name in names]
        return (torch.stack(draws) * 2 - 1) * math.pi

    def values(self, numbers: Tensor) -> Tensor:
        """The images before colours and sigmoid: exactly these magnitudes, whatever the phases."""
        spectrum = torch.polar(self.magnitudes.to(numbers).expand_as(numbers), odd(numbers, self.space.shape[2]))
        values: Tensor = torch.fft.irfft2(spectrum, s=self.space.shape[1:], norm="ortho")
        return values

    def inputs(self, numbers: Tensor) -> Tensor:
        """The images of these phases."""
        return coloured(self.values(numbers), self.space, self.decorrelate)


def odd(phases: Tensor, width: int) -> Tensor:
    """Phases (..., H, width/2 + 1) of a real image: those of the columns that are their own mirror image are odd."""
    turned = torch.roll(phases.flip(-2), 1, dims=-2)
    own = torch.zeros(phases.shape[-1], dtype=torch.bool, device=phases.device)
    own[0] = True
    own[-1] |= width % 2 == 0
    return torch.where(own, phases - turned, phases)


def natural_amplitudes(height: int, width: int) -> Tensor:
    """One over the frequency in waves a pixel, at least one wave an image: float32 (H, W/2 + 1)."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = torch.hypot(rows[:, None], columns[None])
    return 1 / frequency.clamp_min(1 / max(height, width))


def natural_magnitudes(space: Space) -> Tensor:
    """Magnitudes (C, H, W/2 + 1) that fall with the frequency, of images with mean 0 and variance 1."""
    channels, height, width = space.shape
    amplitudes = natural_amplitudes(height, width)
    amplitudes[0, 0] = 0.0
    # Parseval: a column that is not its own mirror image stands for two.
    twice = torch.full((amplitudes.shape[1],), 2.0)
    twice[0] = 1.0
    twice[-1] = 1.0 if width % 2 == 0 else 2.0
    power = (amplitudes.square() * twice).sum() / (height * width)
    return (amplitudes / power.sqrt()).expand(channels, -1, -1).contiguous()


def magnitudes(pixels: Tensor, space: Space, decorrelate: bool = True) -> Tensor:
    """The mean magnitudes (C, H, W/2 + 1) of images: pixels float (N, C, H, W) in 0..1, in the network's size."""
    if tuple(pixels.shape[1:]) != space.shape or not pixels.is_floating_point():
        raise InputError(f"the spectrum needs float images (N, {space.shape}); found {tuple(pixels.shape)}")
    values = torch.logit(pixels.float(), eps=1e-3) - _middle(space, pixels.float())
    root = colour_root(space.shape[0], decorrelate)
    values = torch.einsum("dc,nchw->ndhw", torch.linalg.inv(root), values)
    found: Tensor = torch.fft.rfft2(values, norm="ortho").abs().mean(0)
    return found


def coloured(values: Tensor, space: Space, decorrelate: bool = True) -> Tensor:
    """Decorrelated values (N, C, H, W) as the network's inputs: colours mixed, pixels brought into 0..1."""
    root = colour_root(space.shape[0], decorrelate).to(values)
    mixed = torch.einsum("cd,ndhw->nchw", root, values)
    return space.inputs(torch.sigmoid(mixed + _middle(space, values)))


def colour_root(channels: int, decorrelate: bool = True) -> Tensor:
    """Float32 (C, C), the square root of the covariance of colours; its longest column has length 1."""
    if channels != len(_COLOUR_ROOT) or not decorrelate:
        return torch.eye(channels)
    root = torch.tensor(_COLOUR_ROOT)
    scaled: Tensor = root / root.norm(dim=0).max()
    return scaled


def _middle(space: Space, like: Tensor) -> Tensor:
    """What the sigmoid turns into the network's mean colour, (C, 1, 1)."""
    mean = torch.tensor(space.mean, device=like.device, dtype=like.dtype).clamp(0.02, 0.98)
    return torch.logit(mean).view(-1, 1, 1)
