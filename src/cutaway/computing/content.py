"""Whether the values of tensors are still the same, at the speed of reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

_WORDS = 16384  # 128 KiB, which stay in a processor's cache
_FEW = 4096  # bytes that are kept as they are


def content(tensors: Mapping[str, Tensor]) -> tuple[object, ...]:
    """A key that changes with any value, shape, name, type, device or layout of the tensors.

    Of every 128 KiB it keeps the sum of their 64-bit words times fixed odd numbers, modulo 2**64: one changed word
    always changes it, any other change but one in 2**60. Addresses and version counters would be cheaper, and miss
    `weight.data[3] = 0`.

    >>> weight = torch.zeros(4)
    >>> before = content({"weight": weight})
    >>> weight.data[3] = 1
    >>> content({"weight": weight}) == before
    False
    """
    return tuple(
        (name, value.dtype, str(value.device), tuple(value.shape), value.stride(), _sums(value.detach()))
        for name, value in tensors.items()
    )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of SHA-256 over the tensors' names, shapes, types and values, the same on any machine."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        raw = value.detach().cpu().contiguous().flatten()
        found.update(raw.view(dtype=torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _sums(value: Tensor) -> bytes:
    if value.is_meta:
        return b""
    raw = _in_memory_order(value).view(-1).view(torch.uint8)
    if raw.device.type != "cpu":
        return _sums_there(raw)
    held = raw.numpy()
    if len(held) < _FEW:
        return held.tobytes()
    words = held[: len(held) // 8 * 8].view(np.uint64)
    rows = len(words) // _WORDS * _WORDS
    # Torch's product and sum of integers would take four times as long.
    sums = np.einsum("ij,j->i", words[:rows].reshape(-1, _WORDS), _odd_numbers())
    last = np.einsum("i,i->", words[rows:], _odd_numbers()[: len(words) - rows])
    return bytes(sums.tobytes() + last.tobytes() + held[len(words) * 8 :].tobytes())


def _sums_there(raw: Tensor) -> bytes:
    """The same on a device that keeps the tensor."""
    words, numbers = raw[: len(raw) // 8 * 8].view(torch.int64), torch.from_numpy(_odd_numbers().view(np.int64))
    parts = [words[start : start + _WORDS] for start in range(0, len(words), _WORDS)]
    sums = [(part * numbers[: len(part)].to(raw.device)).sum() for part in parts]
    rest = raw[len(words) * 8 :].cpu().numpy().tobytes()
    return (torch.stack(sums).cpu().numpy().tobytes() if sums else b"") + rest


def _in_memory_order(value: Tensor) -> Tensor:
    """A dense tensor as it lies in memory, without a copy; any other one copied."""
    if value.is_contiguous():
        return value
    return value.permute(sorted(range(value.ndim), key=value.stride, reverse=True)).contiguous()


@cache
def _odd_numbers() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**64, _WORDS, np.uint64) | np.uint64(1)
