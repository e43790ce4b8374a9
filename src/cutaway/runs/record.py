"""One run as a read-only record, and the ways to find runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, Literal, TypeVar, cast

from cutaway.errors import InputError
from cutaway.files import is_held
from cutaway.runs.checked import Wrong, check
from cutaway.runs.folder import RunFolder
from cutaway.runs.links import check_links
from cutaway.runs.schema import EvaluationRecord, FindingRecord, FindingsRecord, RunInfo
from cutaway.runs.sealed import SEAL, header, read_sealed_json, unbroken
from cutaway.showing import Card, Line, Shown, Table

T = TypeVar("T")
Epoch = int | Literal["best", "last"]
_EPOCHS = 20  # the last epochs, which a notebook shows


@dataclass(frozen=True)
class Run(Shown):
    """What a training run left behind, read-only. What is read is compared with its seal or its checks.

    Example: `open_run("runs/shapes-resnet18-1").metrics()`.
    """

    folder: RunFolder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.name

    @property
    def info(self) -> RunInfo:
        """`run.json`, read now."""
        return self.folder.info()

    @property
    def status(self) -> str:
        """`training`, `interrupted`, `diverged` or `finished`; `gone` if the process that was training is no more."""
        said = str(self.info.get("status", ""))
        return "gone" if said == "training" and not is_held(self.folder.path) else said

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`: all, or only those of `kind` ("step", "epoch")."""
        log = self.folder.log(self.folder.metrics)
        return [line for line in log.lines(only_epochs=kind == "epoch") if kind in (None, line["kind"])]

    def vitals(self) -> list[dict[str, Any]]:
        """The records of `vitals.jsonl` about layers: one per layer and epoch."""
        return [line for line in self._vitals() if line.get("kind") != "checkup"]

    def checkups(self) -> list[dict[str, Any]]:
        """The records of `vitals.jsonl` about steps that were looked at closely, oldest first."""
        return [line for line in self._vitals() if line.get("kind") == "checkup"]

    def _vitals(self) -> list[dict[str, Any]]:
        return self.folder.log(self.folder.vitals).lines()

    def evaluation(self, split: str = "test") -> EvaluationRecord | None:
        """What `evaluate` measured on `split`, or None.

        Raises:
            InputError: it is damaged, or was measured on other weights than those that are saved.
        """
        path = self.folder.evaluation(split)
        if not path.is_file():
            return None
        found = cast(EvaluationRecord, self._sealed(path, EvaluationRecord))
        if found["split"] != split:
            raise InputError(
                f"{path} is about the split '{found['split']}'; {_MEASURE} {quote(str(self.folder.path))}`"
            )
        sizes = {len(found["classes"]), len(found["confusion"]), *map(len, found["confusion"])}
        if len(sizes) != 1 or len(found["accuracy_interval"]) != 2:
            told = "its confusion does not fit its classes"
            raise InputError(f"{path} is damaged: {told}; {_MEASURE} {quote(str(self.folder.path))}`")
        self._check_measured(path, found)
        return found

    def _check_measured(self, path: Path, found: EvaluationRecord) -> None:
        weights = self.folder.weights(found["epoch"])
        claimed = found.get("weights")
        try:
            seal = header(weights).get(SEAL)
        except InputError:  # gone, or damaged, which is told where the weights are asked for
            return
        if claimed and seal != claimed:
            place = quote(f"{self.folder.path}@{found['epoch']}")
            raise InputError(
                f"{path} was measured on other weights of epoch {found['epoch']} than those that are saved; "
                f"{_MEASURE} {place}`"
            )

    def findings(self) -> Sequence[FindingRecord] | None:
        """What the doctor wrote, or None if it has not been asked."""
        if not self.folder.findings.is_file():
            return None
        return cast(FindingsRecord, self._sealed(self.folder.findings, FindingsRecord))["findings"]

    def _sealed(self, path: Path, kind: type) -> Any:
        """A JSON record of this run, held against its seal and its type."""
        value, sealed = read_sealed_json(path)
        if not sealed and self.info["schema_version"] > 1:
            raise InputError(f"{path} is damaged: it has lost its seal; delete it")
        try:
            check(value, kind)
        except Wrong as wrong:
            raise InputError(f"{path} is damaged: {wrong}; delete it") from wrong
        return value

    def first_evaluation(self, problems: list[str]) -> EvaluationRecord | None:
        """What was measured, on the test split if it was; what cannot be read is said in `problems`."""
        found = (readable(partial(self.evaluation, split), problems) for split in ("test", "val", "train"))
        return next(filter(None, found), None)

    @property
    def epochs(self) -> list[int]:
        """The epochs whose weights are saved, ascending."""
        found = (
            re.fullmatch(r"epoch-([0-9]{4,9})\.safetensors", path.name)
            for path in self.folder.checkpoints.glob("epoch-*")
        )
        return sorted(int(match[1]) for match in found if match)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest validation accuracy (then the lowest loss), or None before the first ends."""
        return best_of(self.metrics("epoch"))

    def epoch(self, which: Epoch) -> int:
        """The number of a saved epoch: itself, the best or the last."""
        saved = self.epochs
        if not saved:
            raise InputError(
                f"{self.name} has no saved epoch yet; `cutaway resume {quote(str(self.folder.path))}` continues it"
            )
        if which == "last":
            return saved[-1]
        number = self.best_epoch if which == "best" else which
        if number is None:
            raise InputError(f"{self.name} has no best epoch: none was measured; name one of {_ranges(saved)}")
        if number not in saved:
            raise InputError(f"epoch {number} of {self.name} is not saved; saved are {_ranges(saved)}")
        return number

    def card(self) -> Card:
        """What was trained on what, how well, and its epochs."""
        info, ended = self.info, self.metrics("epoch")
        facts = {
            "status": self.status,
            "data": info["data"]["source"],
            "model": info["model"]["spec"],
            "best epoch": best_of(ended),
            **self._accuracies(ended),
            "folder": str(self.folder.path),
        }
        loss = Line("training loss by step", [line.get("loss") for line in self.metrics("step")])
        columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
        rows = [{name: line.get(name) for name in columns} for line in ended[-_EPOCHS:]]
        return Card(self.name, (facts, loss, *([Table.of(rows)] if rows else [])))

    def _accuracies(self, ended: list[dict[str, Any]]) -> dict[str, str]:
        """Accuracies with their split, as texts."""
        found, measured = {}, self.evaluation()
        if best := best_line(ended):
            found["validation accuracy"] = f"{best['val_accuracy']:.2%}"
        if measured:
            about = f"{measured['size']:,} images, epoch {measured['epoch']}"
            found["test accuracy"] = f"{measured['accuracy']:.2%}, {about}"
        return found

    def weights(self, which: Epoch = "best") -> Path:
        """The file with the weights of an epoch, which was compared with its seal.

        Raises:
            InputError: that epoch is not saved, its file is damaged, or it holds the weights of another.
        """
        number = self.epoch(which)
        path = self.folder.weights(number)
        info = self.info
        about = unbroken(path, needed=info["schema_version"] > 1)
        if about.get("epoch") not in (None, str(number)) or about.get("run") not in (None, info.get("id")):
            whose = f"epoch {about.get('epoch')}" if about.get("run") == info.get("id") else "another run"
            raise InputError(f"{path} holds the weights of {whose}; {self._others(number)}")
        return path

    def _others(self, number: int) -> str:
        rest = [epoch for epoch in self.epochs if epoch != number]
        return f"name another epoch: saved are {_ranges(rest)}" if rest else "no other epoch is saved"


_MEASURE = "measure again with `cutaway evaluate"


def readable(read: Callable[[], T], problems: list[str]) -> T | None:
    """What `read` returns; where a record is damaged None, and its sentence in `problems`: the rest can be shown."""
    try:
        return read()
    except InputError as error:
        problems.append(str(error))
        return None


def best_line(ended: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of the lines about epochs, the one with the highest validation accuracy (then the lowest loss)."""
    measured = [line for line in ended if line.get("val_loss") is not None and line.get("val_accuracy") is not None]
    return min(measured, key=lambda line: (-line["val_accuracy"], line["val_loss"]), default=None)


def best_of(ended: Sequence[Mapping[str, Any]]) -> int | None:
    """The number of that epoch."""
    best = best_line(ended)
    return int(best["epoch"]) if best else None


def _ranges(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers) if len(numbers) <= 8 else f"{numbers[0]} to {numbers[-1]}"


def is_run(path: str | Path) -> bool:
    """Whether `path` is a folder with a `run.json`."""
    return os.path.isfile(Path(path) / "run.json")  # Path.is_file raises for a name that is too long


def means_run(text: str | Path) -> bool:
    """Whether `text` means a run, as `resolve` reads it: its folder, with or without an epoch behind `@`."""
    return is_run(text) or is_run(str(text).rpartition("@")[0])


def open_run(path: str | Path) -> Run:
    """Open a run folder as a read-only record; a folder that is none is an `InputError`."""
    folder = RunFolder(Path(path))
    if not os.path.exists(folder.path):
        raise InputError(f"there is no run folder {path}; `cutaway runs` lists the runs")
    folder.info()
    check_links(folder.path)
    return Run(folder)


def resolve(text: str | Path) -> tuple[Run, Epoch]:
    """Read `RUN`, `RUN@7`, `RUN@best` or `RUN@last` (a bare run means its best epoch)."""
    path, _, which = str(text).rpartition("@") if "@" in str(text) and not is_run(text) else (str(text), "", "best")
    if which in ("best", "last"):
        return open_run(path), "best" if which == "best" else "last"
    if not re.fullmatch("[0-9]{1,9}", which):
        raise InputError(f"'{text}': after @ comes an epoch's number, best or last, not '{which}'")
    return open_run(path), int(which)


def list_runs(folder: str | Path) -> list[Run]:
    """The runs in `folder`, oldest first; a damaged one, too, is listed, where its folder's date puts it."""
    found = [Run(RunFolder(path.parent)) for path in Path(folder).glob("*/run.json")]
    return sorted(found, key=lambda run: (_started(run), run.name))


def _started(run: Run) -> str:
    try:
        return run.info.get("started", "")
    except InputError:
        changed = os.lstat(run.folder.path).st_mtime
        return datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")


def new_run_path(folder: Path, stem: str) -> Path:
    """The first free `folder/stem-N`."""
    taken = [
        int(match[1])
        for path in folder.glob(f"{stem}-*")
        if (match := re.fullmatch(rf"{re.escape(stem)}-(\d+)", path.name))
    ]
    return folder / f"{stem}-{max(taken, default=0) + 1}"
