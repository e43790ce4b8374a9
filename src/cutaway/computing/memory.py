"""Memory: keeping it warm for the next tensor, and noticing that there is not enough."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT = 1 << 30
_COMPLAINTS = ("out of memory", "not enough memory", "can't allocate memory")


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GB of freed memory instead of giving it back to the system; whether it does.

    Large CPU tensors otherwise come as fresh pages from the system, which the processor must fault in and clear one by
    one at every allocation: a tenth to a quarter of a forward pass that keeps its layers' outputs. Only glibc has this
    setting, and who has set one of its own (`MALLOC_...`, `GLIBC_TUNABLES`) keeps that.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _KEPT) and library.mallopt(_TRIM_THRESHOLD, _KEPT))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: CUDA's and MPS's have a type of their own, the CPU's only says so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _COMPLAINTS)
