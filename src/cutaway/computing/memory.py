"""Noticing that there is not enough memory."""

from __future__ import annotations

import torch

_COMPLAINTS = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: CUDA's and MPS's have a type of their own, the CPU's only says so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _COMPLAINTS)
