"""Operations that are made of others, written out so that under an interception their parts meet their rules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.errors import InputError


def layer_norm(input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """`F.layer_norm`."""
    return _scaled(_standardised(input, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def group_norm(input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """`F.group_norm`."""
    grouped = _standardised(input.reshape(input.shape[0], num_groups, -1), (-1,), eps).reshape(input.shape)
    return _scaled(grouped, _per_channel(weight, input), _per_channel(bias, input))


def instance_norm(
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.instance_norm`."""
    if not use_input_stats:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    standard = _standardised(input, tuple(range(2, input.ndim)), eps)
    return _scaled(standard, _per_channel(weight, input), _per_channel(bias, input))


def rms_norm(input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """`F.rms_norm`."""
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    square = (input * input).mean(tuple(range(-len(normalized_shape), 0)), keepdim=True)
    return _scaled(input * torch.rsqrt(square + eps), weight, None)


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """`F.normalize`."""
    return input / vector_norm(input, p, dim, True).clamp_min(eps)


def norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """`torch.norm`."""
    return vector_norm(input, p, dim, keepdim)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """`torch.linalg.vector_norm`, of order 2."""
    if ord not in (2, "fro", None):
        raise InputError(f"this method has no rule for a norm of order {ord}; it needs order 2")
    return torch.sqrt((x * x).sum(tuple(range(x.ndim)) if dim is None else dim, keepdim=keepdim))


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: int | None = None
) -> Tensor:
    """`torch.var`."""
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    centred = input - input.mean(dims, keepdim=True)
    count = math.prod(input.shape[one] for one in dims)
    return (centred * centred).sum(dims, keepdim=keepdim) / (
        count - (int(unbiased) if correction is None else correction)
    )


def std(*args: Any, **kwargs: Any) -> Tensor:
    """`torch.std`."""
    return torch.sqrt(var(*args, **kwargs))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """`F.glu`."""
    signal, gate = input.chunk(2, dim)
    return signal * torch.sigmoid(gate)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`F.scaled_dot_product_attention`."""
    if is_causal or enable_gqa:
        raise InputError("this method has no rule for causal or grouped attention; no image classifier needs it")
    logits = (query @ key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        logits = logits.masked_fill(~attn_mask, -torch.inf) if masked else logits + attn_mask
    return torch.softmax(logits, -1) @ value


def multi_head_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """`F.multi_head_attention_forward` of plain attention, without the weights of the attention."""
    call = bound(F.multi_head_attention_forward, args, kwargs)
    extras = ("bias_k", "bias_v", "key_padding_mask", "attn_mask", "static_k", "static_v")
    if call["add_zero_attn"] or any(call[one] is not None for one in extras) or call["query"].ndim != 3:
        raise InputError("this method has no rule for attention with masks or extra keys; it needs plain attention")
    # Images first: nn.MultiheadAttention hands over (tokens, images, channels).
    inputs = [call[one].transpose(0, 1) for one in ("query", "key", "value")]
    biases = [None] * 3 if call["in_proj_bias"] is None else call["in_proj_bias"].chunk(3)
    parts = [F.linear(*one) for one in zip(inputs, _projections(call), biases, strict=True)]
    query, key, value = [part.reshape(*part.shape[:2], call["num_heads"], -1).transpose(1, 2) for part in parts]
    mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    return F.linear(mixed, call["out_proj_weight"], call["out_proj_bias"]).transpose(0, 1), None


def _projections(call: dict[str, Any]) -> tuple[Tensor, ...]:
    if call["use_separate_proj_weight"]:
        return tuple(call[f"{one}_proj_weight"] for one in ("q", "k", "v"))
    return tuple(call["in_proj_weight"].chunk(3))


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _per_channel(value: Tensor | None, x: Tensor) -> Tensor | None:
    return None if value is None else value.view(1, -1, *(1,) * (x.ndim - 2))


COMPOSITES: dict[str, Callable[..., Any]] = {
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "rms_norm": rms_norm,
    "normalize": normalize,
    "norm": norm,
    "vector_norm": vector_norm,
    "linalg_vector_norm": vector_norm,
    "var": var,
    "std": std,
    "glu": glu,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "multi_head_attention_forward": multi_head_attention,
}


@lru_cache(maxsize=256)
def signature(func: Any) -> inspect.Signature | None:
    """The signature of a function written in Python; None for one that is not."""
    written = inspect.isfunction(func) and not hasattr(func, "__wrapped__")
    return inspect.signature(func) if written else None


def bound(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of a function written in Python by their names, with the defaults."""
    known = signature(func)
    assert known is not None
    call = known.bind(*args, **kwargs)
    call.apply_defaults()
    return dict(call.arguments)
