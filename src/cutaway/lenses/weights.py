"""What a network has learned, and which way it is pushed: its kernels and the gradients of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.torch_inside import own_parameters
from cutaway.errors import InputError, nearest
from cutaway.lenses.capture import find_module, images_for, is_leaf
from cutaway.restoring import untouched


def layer_names(network: nn.Module) -> list[str]:
    """The dotted names of all layers that compute by themselves, in the order of definition.

    >>> layer_names(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Flatten())))
    ['0', '1.0', '1.1']
    """
    return [name for name, module in network.named_modules() if name and is_leaf(module)]


def weight_names(network: nn.Module) -> list[str]:
    """The dotted names of all layers with a weight of two dimensions or more (convolutions and linear layers)."""
    return [name for name, module in network.named_modules() if _weight(module) is not None]


def conv_names(network: nn.Module) -> list[str]:
    """The dotted names of all 2-D convolutions."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def kernels(network: nn.Module, layer: str) -> Tensor:
    """A copy of the kernels of a 2-D convolution.

    Returns:
        float (out, in / groups, kernel height, kernel width), signed.

    Raises:
        InputError: no such layer, or it is no 2-D convolution.
    """
    module = find_module(network, layer)
    if not isinstance(module, nn.Conv2d):
        choices = ", ".join(f"'{name}'" for name in nearest(layer, conv_names(network))) or "none in this network"
        raise InputError(
            f"layer '{layer}' is a {type(module).__name__} and has no kernels; 2-D convolutions near it: {choices}"
        )
    return module.weight.detach().clone()


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Float32 (N, classes): what the network returns for `images` in eval mode, without gradients."""
    with untouched(network), torch.no_grad():
        network.eval()
        found = network(images_for(network, images))
    if not isinstance(found, Tensor) or found.ndim != 2:
        kind = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"{type(network).__name__} returns {kind}, expected logits (N, classes)")
    return found.float()


def gradients(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    layers: Sequence[str] | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> dict[str, Tensor]:
    """The gradient of the cross-entropy loss with respect to the weight of each layer, in eval mode.

    Frozen weights have one too, and `.grad` stays as it is.

    Args:
        network: any module that takes one image batch and returns logits (N, classes).
        images: float (N, C, H, W), as the network expects them.
        targets: int64 (N,), the true classes.
        layers: names of layers with a weight; None for all that the forward pass used.
        reduction: the mean or the sum of the loss over the batch.

    Raises:
        InputError: a layer that does not exist, has no weight or was not used.
    """
    names = weight_names(network) if layers is None else list(layers)
    if not names:
        raise InputError(f"{type(network).__name__} has no layer with a weight, so there is no gradient to show")
    weights = [_need_weight(network, name) for name in names]
    # inference_mode(False) lets a caller's inference mode not forbid the gradient that was asked for.
    with untouched(network), torch.inference_mode(False), torch.enable_grad():
        network.eval()
        for weight in weights:
            weight.requires_grad_(True)
        logits = network(images_for(network, images).clone())
        loss = F.cross_entropy(logits.float(), targets.to(logits.device).clone(), reduction=reduction)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
    return _named(names, found, strict=layers is not None)


def _named(names: Sequence[str], found: Sequence[Tensor | None], strict: bool) -> dict[str, Tensor]:
    for name, gradient in zip(names, found, strict=True):
        if gradient is None and strict:
            raise InputError(f"layer '{name}' has no gradient: the loss does not depend on its weight")
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def _weight(module: nn.Module) -> nn.Parameter | None:
    weight = own_parameters(module).get("weight")
    return weight if weight is not None and weight.ndim >= 2 else None


def _need_weight(network: nn.Module, layer: str) -> nn.Parameter:
    module = find_module(network, layer)
    weight = _weight(module)
    if weight is None:
        choices = ", ".join(f"'{name}'" for name in nearest(layer, weight_names(network)))
        raise InputError(f"layer '{layer}' is a {type(module).__name__} and has no weight; layers with one: {choices}")
    return weight
