"""Backward passes in bfloat16 behind forward passes in float32.

In bfloat16 a forward pass changes which ReLUs are open, and a gradient that went through the wrong ones is off by a
tenth or more. The backward pass alone is linear: rounding its factors to 8 bits changes a gradient by about a percent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cutaway.computing.torch_inside import convolution_backward, is_view

# Below so many channels a convolution's time is not in its multiplications.
_FEWEST_CHANNELS = 16


class low_backward(TorchFunctionMode):  # noqa: N801  # used as a context manager, like torch.no_grad
    """Inside this block, dense convolutions pass gradients on to their input by products of bfloat16 numbers.

    The weights get no gradient. What a convolution returns stays as it was. One of these may be entered again and
    again; it keeps the rounded weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._low: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            taken = self._take(*args, **(kwargs or {}))
            if taken is not None:
                return taken
        return func(*args, **(kwargs or {}))

    def _take(
        self,
        input: Tensor,  # the name that torch.conv2d gives it
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        dense = groups == 1 and min(weight.shape[:2]) >= _FEWEST_CHANNELS
        if not dense or not input.requires_grad or input.dtype != torch.float32 or isinstance(padding, str):
            return None
        geometry = tuple(_pair(value) for value in (stride, padding, dilation))
        result: Tensor = _LowBackward.apply(input, weight.detach(), bias, self._rounded(weight), geometry)
        return result

    def _rounded(self, weight: Tensor) -> Tensor:
        if id(weight) not in self._low:
            # The weight is kept as well, so that no other tensor can get its id.
            self._low[id(weight)] = weight, weight.detach().to(torch.bfloat16, memory_format=torch.channels_last)
        return self._low[id(weight)][1]


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(value[0]), int(value[-1])]


class _LowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, low: Tensor, geometry: Any) -> Tensor:
        ctx.save_for_backward(low)
        ctx.geometry, ctx.shape = geometry, images.shape
        result = torch.conv2d(images, weight, bias, *geometry)
        # A mode around this one may return a view, which a ReLU behind it could not overwrite.
        return result.clone() if is_view(result) else result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (low,) = ctx.saved_tensors
        gradient = gradients[0].to(torch.bfloat16, memory_format=torch.channels_last)
        # Of the images only the shape matters where the weight asks for no gradient.
        images = gradient.new_empty(ctx.shape).contiguous(memory_format=torch.channels_last)
        return convolution_backward(gradient, images, low, ctx.geometry).float(), None, None, None, None
