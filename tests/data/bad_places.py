"""What lies in a folder and is no file, or has no name: pipes, sockets, devices, links, files without an end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from odd_files import noise, packed

Put = Callable[[Path], None]


def whole() -> bytes:
    return packed(noise(), "PNG")


def written(make: Callable[[], bytes], path: Path) -> None:
    path.write_bytes(make())


def sparse(size: int, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def linked(target: str, path: Path) -> None:
    path.symlink_to(target)


def listening(path: Path) -> None:
    """A socket; its address has to be short, so it is bound from within its folder."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def sparse_link(path: Path) -> None:
    hidden = path.with_name(f".{path.name}")
    sparse(10**12, hidden)
    path.symlink_to(hidden.name)


def looped(path: Path) -> None:
    path.symlink_to(f".{path.name}")
    path.with_name(f".{path.name}").symlink_to(path.name)


def fifo_behind_link(path: Path) -> None:
    os.mkfifo(path.with_name(f".{path.name}"))
    path.symlink_to(f".{path.name}")


PLACES: dict[str, Put] = {
    "pipe.png": os.mkfifo,
    "link-to-pipe.png": fifo_behind_link,
    "socket.png": listening,
    "sparse-20-gb.png": partial(sparse, 20 * 10**9),
    "sparse-257-mb.jpg": partial(sparse, 257 * 10**6),
    "sparse-200-mb.jpg": partial(sparse, 200 * 10**6),
    "link-to-a-terabyte.png": sparse_link,
    "broken-link.png": partial(linked, "nowhere.png"),
    "link-to-itself.png": lambda path: path.symlink_to(path.name),
    "links-in-a-circle.png": looped,
    **{
        f"link-to-{target.strip('/').replace('/', '-')}.png": partial(linked, target)
        for target in (
            *("/dev/zero", "/dev/null", "/dev/random", "/dev/full", "/dev/tty", "/dev/stdin"),
            *("/proc/kcore", "/proc/kmsg", "/proc/self/mem", "/proc/self/environ", "/proc/self/maps", "/proc/cpuinfo"),
            *("/proc/self/fd/0", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/self/exe"),
        )
        if os.path.lexists(target)
    },
    os.fsdecode(b"not-utf8-\xe9\xff.png"): partial(written, whole),
    "line\nbreak.png": partial(written, whole),
    "tab\t.png": partial(written, whole),
    "return\r.png": partial(written, whole),
    "x" * 247 + "-255.png": partial(written, lambda: whole()[:100]),
}
