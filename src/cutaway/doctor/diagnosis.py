"""From a run to its findings."""

from __future__ import annotations

from pathlib import Path

from cutaway.doctor import rules as _rules  # noqa: F401  # registers them
from cutaway.doctor.finding import SEVERITIES, Finding, Findings
from cutaway.doctor.record import Record, read_record
from cutaway.doctor.rule import RULES
from cutaway.runs import Run, open_run, write_sealed_json

SCHEMA_VERSION = 1


def diagnose(run: Run | str | Path, *, keep: bool = True) -> Findings:
    """What is wrong with a run and what would help, the gravest first; also while it is still training.

    The findings are written to `findings.json` in the run folder as well.

    Args:
        run: a run, or its folder: one of Cutaway's, or one that `cutaway.doctor.watch` recorded.
        keep: whether the findings are written; else `keep_findings` can do it later.

    Raises:
        InputError: no run there, or a damaged record.

    Example: `diagnose("runs/photos-vgg16-1")`.
    """
    record = run if isinstance(run, Run) else open_run(run)
    found = findings(read_record(record))
    if keep:
        keep_findings(record, found)
    return found


def keep_findings(record: Run, found: Findings) -> None:
    """Write findings into the run folder, where pages find them."""
    lines = [finding.as_dict() for finding in found]
    write_sealed_json(record.folder.findings, {"schema_version": SCHEMA_VERSION, "findings": lines})


def findings(record: Record) -> Findings:
    """The findings of all rules; what another finding explains is told as part of that one."""
    found = {name: finding for name, rule in RULES.items() if (finding := rule.check(record))}
    return Findings(sorted(_without_symptoms(found), key=lambda finding: SEVERITIES.index(finding.severity)))


def _without_symptoms(found: dict[str, Finding]) -> list[Finding]:
    """Leave out what a finding of at least the same weight explains."""
    kept = dict(found)
    also: dict[str, list[str]] = {}
    for name, finding in found.items():
        for symptom in RULES[name].explains:
            if name in kept and symptom in kept and _outweighs(finding, kept[symptom]):
                also.setdefault(name, []).extend([symptom, *also.pop(symptom, [])])
                del kept[symptom]
    return [
        Finding(**{**vars(finding), "also": tuple(dict.fromkeys(also.get(name, [])))}) for name, finding in kept.items()
    ]


def _outweighs(finding: Finding, other: Finding) -> bool:
    return finding.severity != "note" and SEVERITIES.index(finding.severity) <= SEVERITIES.index(other.severity)
