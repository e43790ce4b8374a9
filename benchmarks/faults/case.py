"""A case of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from faults.loop import Loop


@dataclass(frozen=True)
class Case:
    """One training, and what the doctor ought to say of it.

    Attributes:
        name: unique.
        kind: the literature's name of the fault; "healthy" for none.
        loop: the training.
        causes: the rules that name the planted mistake; any of them first is right.
        layer: where it was planted, or None where it has no place.
        held_out: 0 for what the rules were tuned on; 1 and 2 for what was written after they had been frozen, and
            after they had been changed once more.
    """

    name: str
    kind: str
    loop: Loop
    causes: tuple[str, ...] = ()
    layer: str | None = None
    held_out: int = 0
