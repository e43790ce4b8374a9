"""Which network the many steps run through: the one given, or a faster copy that was verified against it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cutaway.computing.twin import Twin, bf16_pays, fast_twin
from cutaway.errors import unknown

PRECISIONS = ("auto", "fp32", "bf16")
_TRIED = 2  # images on which the copy is verified


def quick_twin(network: nn.Module, images: Tensor, layers: Sequence[str], precision: str) -> Twin:
    """The twin to ascend in; without a network where the original has to be used.

    Args:
        network: any module.
        images: float (N, C, H, W), some first images.
        layers: what is read; "" for the output.
        precision: "fp32" for the network itself, "bf16" for a copy in bfloat16, "auto" for one where that is faster.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS, f"one of {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return Twin(None, reason="asked for")
    half = precision == "bf16" or bf16_pays(images.device.type)
    keep = [layer for layer in layers if layer]
    try:
        return fast_twin(network, images[:_TRIED], keep=keep, dtype=torch.bfloat16 if half else torch.float32)
    except (RuntimeError, ValueError) as problem:
        # It runs as far as the layers that are read, which was tried before, but not to its end.
        return Twin(None, reason=f"no copy: {problem}")


def described(twin: Twin) -> str:
    """For the certificate, in a few words."""
    if twin.network is None:
        return "the network itself"
    kind = "bf16" if twin.dtype == torch.bfloat16 else "fp32"
    return (
        f"steps through a {kind} copy whose outputs differ by {twin.error:.1e}; what is reached by the network itself"
    )
