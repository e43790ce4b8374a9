"""What every attribution method is: a function from one prepared batch to a map per image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.forward import Forward
from cutaway.lenses.targets import Target
from cutaway.progress import Progress


@dataclass(frozen=True)
class Job:
    """One batch to explain.

    Attributes:
        forward: passes through the network, which is in eval mode with frozen weights.
        images: float (N, C, H, W), as the network expects them, on its device; never changed.
        target: whose score is explained, for these N images.
        layer: the layer a CAM reads; "" for methods that read none.
        seed: of all random choices. The same draws serve every image, so that a batch of N is N batches of one.
        batch: at most so many images go through the network at once.
        progress: called as (label, done, total), or None.
    """

    forward: Forward
    images: Tensor
    target: Target
    layer: str = ""
    seed: int = 0
    batch: int = 32
    progress: Progress | None = None

    def generator(self) -> torch.Generator:
        """A fresh random generator on the CPU, the same for the same seed on every device."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Found:
    """What a method found.

    Attributes:
        values: float32 (N, C, H, W) with the images' channels and size, or (N, 1, h, w) of the layer's size; raw and
            signed, never rescaled.
        check: name and value of each check; a tensor (N,) for one value per image.
        notes: sentences for the certificate.
        parameters: what was chosen by the method itself, such as the number of steps; joins the options given.
    """

    values: Tensor
    check: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Compute(Protocol):
    """The signature of a method: the batch, and its own options by name."""

    def __call__(self, job: Job, *args: Any, **options: Any) -> Found:
        """Explain the batch."""
        ...


@dataclass(frozen=True)
class Method:
    """One attribution method.

    Attributes:
        name: as on the command line: `grad-cam`, `integrated-gradients`.
        compute: the function that does it.
        kind: `pixels` for values per colour and pixel, `map` for a layer's map.
        options: names and defaults of the options of `compute`.
        summary: what it computes, in a few words.
        paper: authors and year.
        combine: how a value per pixel comes from the colours: their sum, or the largest magnitude.
        signed: whether negative values mean evidence against the target.
        needs_layer: whether it reads a layer.
    """

    name: str
    compute: Compute
    kind: Literal["pixels", "map"]
    summary: str
    paper: str
    options: Mapping[str, Any] = field(default_factory=dict)
    combine: Literal["sum", "max"] = "sum"
    signed: bool = True
    needs_layer: bool = False


def named(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by their names; no two may share one."""
    table: dict[str, Method] = {}
    for method in methods:
        assert method.name not in table, method.name
        table[method.name] = method
    return table


def baseline_image(baseline: float | Tensor, images: Tensor) -> Tensor:
    """What stands for "nothing to see": a number everywhere, or an image (C, H, W) as the network expects it.

    Returns:
        (C, H, W) of the images' shape, dtype and device.

    Raises:
        InputError: a tensor of another shape.
    """
    value = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    shape = tuple(images.shape[1:])
    if value.ndim and value.shape != shape:
        raise InputError(f"baseline must be a number or a tensor {shape}; found a tensor {tuple(value.shape)}")
    return value.expand(shape)
