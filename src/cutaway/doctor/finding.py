"""What the doctor says: a finding with its evidence, its probable cause and a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cutaway.showing import Card, Line, Shown

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Number = float | int | str | None


@dataclass(frozen=True)
class Chart:
    """A small chart as plain data: one line of `y` over `x`, and a level to compare with.

    `x` are numbers or names of layers; `log` asks for a logarithmic scale.
    """

    x_label: str
    y_label: str
    x: tuple[Any, ...]
    y: tuple[float | None, ...]
    level: float | None = None
    level_label: str = ""
    log: bool = False


@dataclass(frozen=True)
class Evidence:
    """What the finding rests on: figures by name, the layer and the step where it begins, a chart."""

    numbers: Mapping[str, Number] = field(default_factory=dict)
    layer: str | None = None
    step: int | None = None
    chart: Chart | None = None


@dataclass(frozen=True)
class Finding(Shown):
    """One thing that is wrong or worth knowing.

    Attributes:
        rule: the rule's name; its page is `docs/doctor/RULE.md`.
        severity: "error": the result is wrong or nothing is learnt; "warning": it costs accuracy or time;
            "note": worth knowing.
        title: one sentence about what was seen, with its figures.
        evidence: figures, layer, step and a chart.
        cause: what probably lies behind it.
        remedy: a command that can be run, or the line to change in a loop that is not Cutaway's.
        also: the rules whose findings this one explains.
    """

    rule: str
    severity: Severity
    title: str
    evidence: Evidence
    cause: str
    remedy: str
    also: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for `findings.json`."""
        return asdict(self)

    def card(self) -> Card:
        """What was seen, the figures, and what to do."""
        seen, chart = self.evidence, self.evidence.chart
        figures = {"layer": seen.layer, "since step": seen.step, **seen.numbers}
        curve = (Line(f"{chart.y_label} / {chart.x_label}", chart.y, chart.level),) if chart else ()
        advice = {"cause": self.cause, "remedy": self.remedy, "explains": self.also}
        return Card(f"{self.severity}: {self.title}", (figures, *curve, advice))


class Findings(list[Finding], Shown):
    """Findings, the gravest first."""

    def card(self) -> Card:
        """One below the other."""
        return Card("", [finding.card() for finding in self] or ["nothing found that is wrong or worth knowing"])


def line_chart(
    x_label: str,
    y_label: str,
    points: Sequence[tuple[Any, float | None]],
    level: float | None = None,
    level_label: str = "",
    log: bool = False,
) -> Chart:
    """A chart of (x, y) points."""
    return Chart(x_label, y_label, tuple(x for x, _ in points), tuple(y for _, y in points), level, level_label, log)
