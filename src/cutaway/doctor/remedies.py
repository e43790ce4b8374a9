"""The remedies that `--try` tries: what each changes, and which of them fit a run's findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cutaway.doctor.finding import Finding
from cutaway.doctor.record import Record
from cutaway.doctor.rule import RULES

CONTROL = "as-it-was"
_REPAIR = "no-last-activation"
_USUAL = ("batch-norm", "kaiming", "rate/10", "adagrad-xavier")
_MOST = 8


@dataclass(frozen=True)
class Remedy:
    """Recipe keys that change, and repairs of the network (see `cutaway.models.changes`)."""

    name: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    change: tuple[str, ...] = ()

    def and_then(self, other: Remedy) -> Remedy:
        """Both together."""
        return Remedy(f"{self.name}+{other.name}", {**self.recipe, **other.recipe}, (*self.change, *other.change))


def _rate(factor: float) -> Callable[[Mapping[str, Any]], Remedy]:
    name = f"rate*{factor:g}" if factor > 1 else f"rate/{1 / factor:g}"
    return lambda recipe: Remedy(name, {"learning_rate": recipe["learning_rate"] * factor})


def _batch(factor: float) -> Callable[[Mapping[str, Any]], Remedy]:
    name = f"batch*{factor:g}" if factor > 1 else f"batch/{1 / factor:g}"
    return lambda recipe: Remedy(name, {"batch_size": max(1, int(recipe["batch_size"] * factor))})


def _fixed(name: str, *change: str, **recipe: Any) -> Callable[[Mapping[str, Any]], Remedy]:
    return lambda _: Remedy(name, recipe, change)


REMEDIES: dict[str, Callable[[Mapping[str, Any]], Remedy]] = {
    _REPAIR: _fixed(_REPAIR, _REPAIR),
    "batch-norm": _fixed("batch-norm", "batch-norm"),
    "kaiming": _fixed("kaiming", initialisation="kaiming"),
    "xavier": _fixed("xavier", initialisation="xavier"),
    "adagrad-xavier": _fixed("adagrad-xavier", optimizer="adagrad", learning_rate=0.01, initialisation="xavier"),
    "rate/10": _rate(0.1),
    "rate/100": _rate(0.01),
    "rate*10": _rate(10),
    "rate*100": _rate(100),
    "batch*4": _batch(4),
    "batch/4": _batch(0.25),
    "clip": _fixed("clip", clip=1.0),
}


def remedies(record: Record, findings: Sequence[Finding]) -> list[Remedy]:
    """The run as it was, and what the findings and experience suggest; a repair is combined with all the others."""
    wanted = [name for finding in findings for name in _tries(finding)]
    names = list(dict.fromkeys([*wanted, *_USUAL]))
    if (record.first or {}).get("modes", {}).get("batch_norms"):
        names = [name for name in names if name != "batch-norm"]
    made = [REMEDIES[name](record.recipe) for name in names if name != _REPAIR]
    if _REPAIR in names:
        repair = REMEDIES[_REPAIR](record.recipe)
        made = [repair, *(repair.and_then(other) for other in made)]
    return [Remedy(CONTROL), *made[:_MOST]]


def _tries(finding: Finding) -> list[str]:
    """What the finding's rule and those that it explains suggest."""
    return [name for rule in (finding.rule, *finding.also) for name in RULES[rule].tries]
