"""What the doctor found in a run, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cutaway.numerals import number
from cutaway.runs import Run


@dataclass(frozen=True)
class Finding:
    """What the doctor says: severity, title, evidence by name with a small curve, cause and remedy."""

    rule: str
    severity: str
    title: str
    evidence: tuple[tuple[str, str], ...]
    curve: tuple[float, ...]
    curve_of: tuple[str, ...]
    cause: str
    remedy: str


def read_findings(run: Run) -> tuple[Finding, ...] | None:
    """What the doctor wrote, or None if it has not been asked."""
    found = run.findings()
    return None if found is None else tuple(map(_finding, found))


def _finding(entry: Mapping[str, Any]) -> Finding:
    evidence = entry.get("evidence") or {}
    numbers = {**{key: evidence.get(key) for key in ("layer", "step")}, **evidence.get("numbers", {})}
    chart = evidence.get("chart") or {}
    curve = tuple(float(value) for value in chart.get("y", ()) if value is not None)
    return Finding(
        rule=str(entry.get("rule") or ""),
        severity=str(entry.get("severity") or ""),
        title=str(entry.get("title") or ""),
        evidence=tuple((key, _words(value)) for key, value in numbers.items() if value is not None),
        curve=curve,
        curve_of=tuple(str(chart.get(axis, "")) for axis in ("y_label", "x_label")),
        cause=str(entry.get("cause") or ""),
        remedy=str(entry.get("remedy") or ""),
    )


def _words(value: Any) -> str:
    return number(value, 4) if isinstance(value, float) else str(value)
