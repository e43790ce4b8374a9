"""The checks of a certificate that belong to one of the things it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def own_check(check: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """Of a certificate about `count` images or units the checks of number `index`: a list holds one number for each.

    >>> own_check({"score": [8.6, 7.9], "similarity": 0.1}, 1, 2)
    {'score': 7.9, 'similarity': 0.1}
    """
    several = (list, tuple)
    return {
        name: value[index] if isinstance(value, several) and len(value) == count else value
        for name, value in check.items()
    }
