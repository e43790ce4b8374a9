"""What a program sets for its whole process, and a library must not: `cutaway`, its server and the server's workers."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT = 1 << 30


@cache
def set_up() -> bool:
    """Let the C library keep up to 1 GB of freed memory instead of giving it back to the system; whether it does.

    Large CPU tensors otherwise come as fresh pages from the system, which the processor must fault in and clear one by
    one at every allocation: a tenth to a quarter of a forward pass that keeps its layers' outputs. Only glibc has this
    setting, and who has set one of its own (`MALLOC_...`, `GLIBC_TUNABLES`) keeps that. It cannot be taken back, so
    that a script or a notebook which wants it calls this itself.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_THRESHOLD, _KEPT) and library.mallopt(_TRIM_THRESHOLD, _KEPT))
