"""A rule: one function that looks at a record and says what it finds, under one name with one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cutaway.doctor.finding import Chart, Evidence, Finding, Severity
from cutaway.doctor.record import Record


@dataclass(frozen=True)
class Said:
    """What a rule says, before it gets the rule's name."""

    severity: Severity
    title: str
    cause: str
    remedy: str
    evidence: Evidence


Look = Callable[[Record], Said | None]


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: kebab-case; the page is `docs/doctor/NAME.md`.
        look: the function.
        explains: rules whose findings follow from this one, and are then told as part of it.
        tries: the changes (see `changes.py`) that `--try` tries first when this rule finds something.
    """

    name: str
    look: Look
    explains: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()

    def check(self, record: Record) -> Finding | None:
        """The finding, or None."""
        said = self.look(record)
        if said is None:
            return None
        return Finding(self.name, said.severity, said.title, said.evidence, said.cause, said.remedy)


RULES: dict[str, Rule] = {}


def rule(name: str, *, explains: tuple[str, ...] = (), tries: tuple[str, ...] = ()) -> Callable[[Look], Look]:
    """Register a function as a rule; the order of the modules in `rules/` is the order of importance."""

    def register(look: Look) -> Look:
        RULES[name] = Rule(name, look, explains, tries)
        return look

    return register


def say(
    severity: str,
    title: str,
    *,
    cause: str,
    remedy: str,
    layer: str | None = None,
    step: int | None = None,
    chart: Chart | None = None,
    **numbers: Any,
) -> Said:
    """What a rule returns; `numbers` are the figures of its evidence."""
    figures = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in numbers.items()}
    assert severity in ("error", "warning", "note")
    return Said(severity, title, cause, remedy, Evidence(figures, layer, step, chart))  # type: ignore[arg-type]  # asserted above
