"""The list of runs and the record of one, as plain data that needs no network and no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cutaway.errors import InputError
from cutaway.pictures.curves import Curves, read_curves
from cutaway.runs import Run
from cutaway.views.confusion import Confusion, confusion_of
from cutaway.views.findings import Finding, read_findings
from cutaway.views.run import _facts, _notes
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
    """One run in the list; `problem` says why the rest is missing."""

    name: str
    status: str = ""
    data: str = ""
    model: str = ""
    done: int = 0
    epochs: int | None = None
    measured: tuple[Measured, ...] = ()
    curve: tuple[float, ...] = ()
    started: str = ""
    problem: str = ""


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
        except FileNotFoundError:
            continue
        except (InputError, KeyError, TypeError, AttributeError, ValueError) as error:
            if run.folder.path.exists():
                lines.append(RunLine(run.name, problem=_reason(run, error)))
    return lines


def _reason(run: Run, error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{run.folder.run_json} is damaged: {error!r}"


def run_line(run: Run) -> RunLine:
    """One line of the list of runs."""
    info, epochs = run.info, run.metrics("epoch")
    return RunLine(
        name=run.name,
        status=run.status,
        data=str(info["data"].get("name", "")),
        model=str(info["model"].get("spec", "")),
        done=len(epochs),
        epochs=info["recipe"].get("epochs"),
        measured=tuple(_measured(run, info, epochs)),
        curve=tuple(line["val_accuracy"] for line in epochs if line.get("val_accuracy") is not None),
        started=str(info.get("started", "")),
        problem=str(info.get("problem") or ""),
    )


def view_record(run: Run, say: Words | None = None) -> RunRecord:
    """Read what the page of a run shows; raises `InputError` for a damaged one."""
    try:
        return _record(run, say or words())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(_reason(run, error)) from error


def _record(run: Run, say: Words) -> RunRecord:
    info = run.info
    evaluation = next((found for split in ("test", "val", "train") if (found := run.evaluation(split))), None)
    return RunRecord(
        line=run_line(run),
        curves=read_curves(run.metrics()),
        epochs=tuple(run.metrics("epoch")),
        saved=tuple(run.epochs),
        best=run.best_epoch,
        evaluation=evaluation,
        confusion=confusion_of(evaluation),
        notes=tuple(_notes(info, evaluation, say)),
        facts=tuple(_facts(info, say)),
        findings=read_findings(run),
    )


def _measured(run: Run, info: Mapping[str, Any], epochs: list[dict[str, Any]]) -> Iterable[Measured]:
    for split in ("test", "train"):
        found = run.evaluation(split)
        if found:
            low, high = found["accuracy_interval"]
            yield Measured(found["accuracy"], split, found["size"], found["epoch"], (low, high))
    best = next((line for line in epochs if line["epoch"] == run.best_epoch), None)
    if best:
        size = info["data"].get("splits", {}).get("val", {}).get("size")
        yield Measured(best["val_accuracy"], "val", size, best["epoch"])
