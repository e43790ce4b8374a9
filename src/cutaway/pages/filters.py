"""What templates of units, layers and images ask of their data."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any


def zoom(still: Any, wanted: int) -> int:
    """The whole number that brings a picture's longer side near to `wanted` pixels, at least 1."""
    return max(1, int(wanted // max(still.height, still.width)))


def whole(patch: Any) -> bool:
    """Whether a patch's box holds its whole image."""
    top, left, bottom, right = patch.context_box
    return bool(top <= 0 and left <= 0 and bottom >= 1 and right >= 1)


def known_numbers(values: Any) -> list[float]:
    """The numbers among `values`, which may be an array with NaN or a list with None."""
    return [float(value) for value in values if value is not None and value == value]


def shell(value: object) -> str:
    """A path or name as a word of a command that people copy.

    >>> shell("a b"), shell("runs/one")
    ("'a b'", 'runs/one')
    """
    return shlex.quote(str(value))


FILTERS: dict[str, Callable[..., Any]] = {
    "shell": shell,
    "zoom": zoom,
    "whole": whole,
    "known_numbers": known_numbers,
}
