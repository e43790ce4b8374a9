"""Errors that a user can act on: where, what was expected, what was found, and the way out, in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in the input or its surroundings; the command line prints it as one line and exits with 2."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` names in `known` that look most like `name`, best first."""
    folded = {item.casefold(): item for item in known}
    return [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.0)]


def unknown(kind: str, name: str, known: Iterable[str], place: str = "") -> InputError:
    """An error for a name that does not exist, with the nearest names that do.

    >>> print(unknown("layer", "layer5", ["layer4", "layer3", "fc"], "in ResNet-18"))
    layer 'layer5' is not in ResNet-18; the nearest are 'layer4', 'layer3', 'fc'
    """
    choices = ", ".join(f"'{choice}'" for choice in nearest(name, known))
    return InputError(
        f"{kind} '{name}' is not {place or 'known'}; the nearest are {choices}"
        if choices
        else f"{kind} '{name}' is not {place or 'known'}"
    )
