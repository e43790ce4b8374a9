"""Errors that a user can act on: where, what was expected, what was found, and the way out, in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cutaway.plain import short, visible


class InputError(ValueError):
    """A mistake in the input or its surroundings; the command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        # It quotes what was found, which may be anything, and goes to terminals.
        return visible(super().__str__())


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` names in `known` that look most like `name`, best first."""
    folded = {item.casefold(): item for item in known}
    return [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.0)]


def unknown(kind: str, name: str, known: Iterable[str], place: str = "") -> InputError:
    """An error for a name that does not exist, with the nearest names that do.

    >>> print(unknown("layer", "layer5", ["layer4", "layer3", "fc"], "in ResNet-18"))
    layer 'layer5' is not in ResNet-18; the nearest are 'layer4', 'layer3', 'fc'
    """
    choices, name = ", ".join(f"'{choice}'" for choice in nearest(short(name), known)), short(name)
    return InputError(
        f"{kind} '{name}' is not {place or 'known'}; the nearest are {choices}"
        if choices
        else f"{kind} '{name}' is not {place or 'known'}"
    )
