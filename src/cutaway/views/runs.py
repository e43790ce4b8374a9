"""The list of runs and the record of one, as plain data that needs no network and no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cutaway.errors import InputError
from cutaway.pictures.curves import Curves, read_curves
from cutaway.runs import Run, RunInfo, best_line, best_of, readable
from cutaway.views.confusion import Confusion, confusion_of
from cutaway.views.findings import Finding, read_findings
from cutaway.views.run import facts_of, notes_of, split_size
from cutaway.words import Words, words

STATUSES = ("training", "gone", "interrupted", "diverged", "finished")


@dataclass(frozen=True)
class Measured:
    """An accuracy with what it was measured on."""

    accuracy: float
    split: str
    size: int | None
    epoch: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class RunLine:
    """One run in the list; `problems` say why the rest is missing."""

    name: str
    status: str = ""
    data: str = ""
    model: str = ""
    done: int = 0
    epochs: int | None = None
    measured: tuple[Measured, ...] = ()
    curve: tuple[float, ...] = ()
    started: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that the page of a run shows without its network."""

    line: RunLine
    curves: Curves
    epochs: tuple[Mapping[str, Any], ...]
    saved: tuple[int, ...]
    best: int | None
    evaluation: Mapping[str, Any] | None
    confusion: Confusion | None
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...] | None


def list_lines(runs: Iterable[Run]) -> list[RunLine]:
    """A line for each run; a damaged one says what is wrong with it, one that vanishes meanwhile is left out."""
    lines = []
    for run in runs:
        try:
            lines.append(run_line(run))
        except (InputError, OSError) as error:
            if run.folder.path.exists():
                lines.append(RunLine(run.name, problems=(str(error),)))
    return lines


def run_line(run: Run) -> RunLine:
    """One line of the list of runs."""
    info, epochs, problems = run.info, run.metrics("epoch"), list[str]()
    measured, planned = tuple(_measured(run, info, epochs, problems)), info["recipe"].get("epochs")
    return RunLine(
        name=run.name,
        status=run.status,
        data=info["data"]["name"],
        model=info["model"]["spec"],
        done=len(epochs),
        epochs=planned if isinstance(planned, int) else None,
        measured=measured,
        curve=tuple(line["val_accuracy"] for line in epochs if line.get("val_accuracy") is not None),
        started=info.get("started", ""),
        problems=(*problems, *([info["problem"]] if info.get("problem") else [])),
    )


def view_record(run: Run, say: Words | None = None) -> RunRecord:
    """Read what the page of a run shows; raises `InputError` for one whose record or curves are damaged."""
    say, info, epochs, problems = say or words(), run.info, run.metrics("epoch"), list[str]()
    evaluation, findings = run.first_evaluation(problems), readable(partial(read_findings, run), problems)
    return RunRecord(
        line=run_line(run),
        curves=read_curves(run.metrics()),
        epochs=tuple(epochs),
        saved=tuple(run.epochs),
        best=best_of(epochs),
        evaluation=evaluation,
        confusion=confusion_of(evaluation),
        notes=(*problems, *notes_of(info, evaluation, say)),
        facts=tuple(facts_of(info, say)),
        findings=findings,
    )


def _measured(run: Run, info: RunInfo, epochs: Sequence[Mapping[str, Any]], problems: list[str]) -> Iterable[Measured]:
    for split in ("test", "train"):
        found = readable(partial(run.evaluation, split), problems)
        if found:
            low, high = found["accuracy_interval"]
            yield Measured(found["accuracy"], split, found["size"], found["epoch"], (low, high))
    if best := best_line(epochs):
        yield Measured(best["val_accuracy"], "val", split_size(info, "val"), best["epoch"])
