"""The certificate: what made a result, and the number that shows that it is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cutaway.numerals import in_words
from cutaway.showing import Shown


@dataclass(frozen=True)
class Certificate(Shown):
    """What travels with every result of a lens.

    Attributes:
        method: the lens or method, as in the documentation.
        parameters: everything that decides the result, JSON-able.
        seed: the seed of its random choices; None if it makes none.
        check: name and number of each check that the method allows, such as `completeness_gap`.
        notes: sentences a reader must know (a batch that was halved, a precision that was lowered).
        weights: fingerprint of the network's weights and buffers; "" until a `Scope` fills it in.
        versions: of cutaway and torch; empty until a `Scope` fills it in.
        device: where it was computed.
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    check: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    weights: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""

    def signed(self, weights: str, versions: Mapping[str, str], device: str) -> Certificate:
        """The same certificate with what only the owner of the network knows."""
        return replace(self, weights=weights, versions=dict(versions), device=device)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, in the order in which it is read."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "check": dict(self.check),
            "notes": list(self.notes),
            "weights": self.weights,
            "versions": dict(self.versions),
            "device": self.device,
        }

    def line(self) -> str:
        """One line for a picture's caption: method, checks, seed."""
        checks = [f"{name.replace('_', ' ')} {in_words(value)}" for name, value in self.check.items()]
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return "  ·  ".join([self.method, *checks, *seed])
