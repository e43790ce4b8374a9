"""One run as a read-only record, and the ways to find runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cutaway.errors import InputError
from cutaway.files import is_held, read_json
from cutaway.runs.folder import RunFolder, read_lines
from cutaway.showing import Card, Line, Shown, Table

Epoch = int | Literal["best", "last"]
_EPOCHS = 20  # the last epochs, which a notebook shows


@dataclass(frozen=True)
class Run(Shown):
    """What a training run left behind, read-only.

    Example: `open_run("runs/shapes-resnet18-1").metrics()`.
    """

    folder: RunFolder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.name

    @property
    def info(self) -> dict[str, Any]:
        """`run.json`, read now."""
        return self.folder.info()

    @property
    def status(self) -> str:
        """`training`, `interrupted`, `diverged` or `finished`; `gone` if the process that was training is no more."""
        said = str(self.info.get("status", ""))
        return "gone" if said == "training" and not is_held(self.folder.path) else said

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`: all, or only those of `kind` ("step", "epoch")."""
        return [line for line in read_lines(self.folder.metrics) if kind in (None, line["kind"])]

    def vitals(self) -> list[dict[str, Any]]:
        """The records of `vitals.jsonl` about layers: one per layer and epoch."""
        return [line for line in read_lines(self.folder.vitals) if line.get("kind") != "checkup"]

    def checkups(self) -> list[dict[str, Any]]:
        """The records of `vitals.jsonl` about steps that were looked at closely, oldest first."""
        return [line for line in read_lines(self.folder.vitals) if line.get("kind") == "checkup"]

    def evaluation(self, split: str = "test") -> dict[str, Any] | None:
        """What `evaluate` measured on `split`, or None."""
        path = self.folder.evaluation(split)
        return dict(read_json(path)) if path.is_file() else None

    @property
    def epochs(self) -> list[int]:
        """The epochs whose weights are saved, ascending."""
        found = (
            re.fullmatch(r"epoch-(\d+)\.safetensors", path.name) for path in self.folder.checkpoints.glob("epoch-*")
        )
        return sorted(int(match[1]) for match in found if match)

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest validation accuracy (then the lowest loss), or None before the first ends."""
        ended = [line for line in self.metrics("epoch") if line.get("val_loss") is not None]
        best = min(ended, key=lambda line: (-line["val_accuracy"], line["val_loss"]), default=None)
        return int(best["epoch"]) if best else None

    def epoch(self, which: Epoch) -> int:
        """The number of a saved epoch: itself, the best or the last."""
        saved = self.epochs
        if not saved:
            raise InputError(f"{self.name} has no saved epoch yet; `cutaway resume {self.folder.path}` continues it")
        if which == "last":
            return saved[-1]
        number = self.best_epoch if which == "best" else which
        if number not in saved:
            raise InputError(f"epoch {number} of {self.name} is not saved; saved are {_ranges(saved)}")
        return int(number)

    def card(self) -> Card:
        """What was trained on what, how well, and its epochs."""
        info, ended = self.info, self.metrics("epoch")
        data, model = info.get("data", {}), info.get("model", {})
        facts = {
            "status": self.status,
            "data": data.get("source"),
            "model": model.get("spec"),
            "best epoch": self.best_epoch,
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
        best = next((line for line in ended if line["epoch"] == self.best_epoch), None)
        if best:
            found["validation accuracy"] = f"{best['val_accuracy']:.2%}"
        if measured:
            about = f"{measured['size']:,} images, epoch {measured['epoch']}"
            found["test accuracy"] = f"{measured['accuracy']:.2%}, {about}"
        return found

    def weights(self, which: Epoch = "best") -> Path:
        """The file with the weights of an epoch."""
        return self.folder.weights(self.epoch(which))


def _ranges(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers) if len(numbers) <= 8 else f"{numbers[0]} to {numbers[-1]}"


def is_run(path: str | Path) -> bool:
    """Whether `path` is a folder with a `run.json`."""
    return (Path(path) / "run.json").is_file()


def open_run(path: str | Path) -> Run:
    """Open a run folder as a read-only record; a folder that is none is an `InputError`."""
    folder = RunFolder(Path(path))
    if not folder.path.exists():
        raise InputError(f"there is no run folder {path}; `cutaway runs` lists the runs")
    folder.info()
    return Run(folder)


def resolve(text: str | Path) -> tuple[Run, Epoch]:
    """Read `RUN`, `RUN@7`, `RUN@best` or `RUN@last` (a bare run means its best epoch)."""
    path, _, which = str(text).rpartition("@") if "@" in str(text) and not is_run(text) else (str(text), "", "best")
    if which in ("best", "last"):
        return open_run(path), "best" if which == "best" else "last"
    if not which.isdigit():
        raise InputError(f"'{text}': after @ comes an epoch's number, best or last, not '{which}'")
    return open_run(path), int(which)


def list_runs(folder: str | Path) -> list[Run]:
    """The runs in `folder`, oldest first."""
    found = [Run(RunFolder(path.parent)) for path in Path(folder).glob("*/run.json")]
    return sorted(found, key=lambda run: (str(run.info.get("started", "")), run.name))


def new_run_path(folder: Path, stem: str) -> Path:
    """The first free `folder/stem-N`."""
    taken = [
        int(match[1])
        for path in folder.glob(f"{stem}-*")
        if (match := re.fullmatch(rf"{re.escape(stem)}-(\d+)", path.name))
    ]
    return folder / f"{stem}-{max(taken, default=0) + 1}"
