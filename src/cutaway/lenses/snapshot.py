"""What is kept of a network after every epoch: maps, kernels and gradients for a few fixed probe images."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.activations import feature_maps
from cutaway.lenses.capture import observe
from cutaway.lenses.weights import conv_names, gradients, kernels


def take_snapshot(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    layers: Sequence[str] | None = None,
    *,
    max_channels: int = 64,
    max_bytes: int = 2_000_000,
) -> dict[str, Tensor]:
    """Feature maps of several layers, and kernels and weight gradients of the first, for the probe images.

    Which channels are kept depends only on a layer's name and width, so they are the same at every epoch.

    Args:
        network: an image classifier; left as it was.
        images: float (P, C, H, W), the probe images as the network expects them.
        labels: int64 (P,), their classes.
        layers: layers with maps; None for the first convolution and the last one of each map size.
        max_channels: at most so many channels a layer.
        max_bytes: about so many bytes of maps in all layers together; at least one channel a layer is kept.

    Returns:
        On the CPU, contiguous: `maps/<layer>` float16 (P, kept, h, w), `channels/<layer>` int64 (kept,) their numbers,
        and `kernels/<first>`, `gradients/<first>` float32 (out, in, kh, kw).
    """
    first = _first_conv(network)
    maps = _one_of_each_size(_conv_maps(network, images)) if layers is None else feature_maps(network, images, layers)
    arrays: dict[str, Tensor] = {}
    for name, value in maps.items():
        room = max_bytes // len(maps) // max(1, 2 * value[:, 0].numel())
        chosen = choose_channels(name, value.shape[1], min(max_channels, max(1, room)))
        arrays[f"maps/{name}"] = _to_half(value[:, chosen.to(value.device)])
        arrays[f"channels/{name}"] = chosen
    arrays[f"kernels/{first}"] = kernels(network, first).float().cpu().contiguous()
    arrays[f"gradients/{first}"] = gradients(network, images, labels, [first])[first].float().cpu().contiguous()
    return arrays


def choose_channels(layer: str, channels: int, count: int) -> Tensor:
    """Which `count` of a layer's channels stand for it: int64, ascending, the same in every process and epoch.

    >>> choose_channels("conv1", 4, 64).tolist()
    [0, 1, 2, 3]
    """
    if count >= channels:
        return torch.arange(channels)
    # A generator of its own: the network's run must not depend on whether a snapshot was taken.
    generator = torch.Generator().manual_seed(zlib.crc32(layer.encode()))
    return torch.randperm(channels, generator=generator)[:count].sort().values


def _to_half(value: Tensor) -> Tensor:
    """float16 on the CPU; values beyond its range become its largest, so that a picture of them can be drawn."""
    limit = torch.finfo(torch.float16).max
    return value.clamp(-limit, limit).to(torch.float16).cpu().contiguous()


def _first_conv(network: nn.Module) -> str:
    names = conv_names(network)
    if not names:
        raise InputError(
            f"{type(network).__name__} has no 2-D convolution, so there are no kernels to keep a snapshot of"
        )
    return names[0]


def _conv_maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each convolution that the forward pass reaches returns (a training-only head is not reached)."""
    convolutions = set(conv_names(network))
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        if name in convolutions:
            found[name] = value.clone()

    with torch.no_grad():
        observe(network, images, None, keep)
    return found


def _one_of_each_size(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first layer, and the last of each height and width, in the order of the forward pass."""
    last = {tuple(value.shape[2:]): name for name, value in maps.items()}
    kept = {next(iter(maps)), *last.values()}
    return {name: value for name, value in maps.items() if name in kept}
