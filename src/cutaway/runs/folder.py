"""The run folder: where each thing lies, and how its records are written and read. This layout is the contract.

fashion-resnet18-1/
  run.json              schema_version, data, model, recipe, environment, status, best
  metrics.jsonl         one object a step or epoch; append-only; a torn last line is tolerated
  vitals.jsonl          one object per layer and epoch, and one per check-up
  checkpoints/          epoch-0007.safetensors (weights); state.safetensors, the one before it (for resuming)
  snapshots/0007/       feature maps, kernels and gradients of the fixed probe images
  findings.json         what the doctor says
  atlas/                what is known of every unit, by epoch
  evaluation-test.json  what `evaluate` measured
  index.html            the run as a page
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.errors import InputError
from cutaway.files import explain_disk_errors, read_json, write_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """The paths inside one run folder, and its records."""

    path: Path

    @property
    def run_json(self) -> Path:
        """What was trained on what, how and where."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Loss and accuracy, a line a step or epoch."""
        return self.path / "metrics.jsonl"

    @property
    def vitals(self) -> Path:
        """Gradient norms, update ratios and dead fractions, a line per layer and epoch."""
        return self.path / "vitals.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of weights and of the state for resuming."""
        return self.path / "checkpoints"

    @property
    def state(self) -> Path:
        """The newest complete training state."""
        return self.checkpoints / "state.safetensors"

    @property
    def previous_state(self) -> Path:
        """The state before the newest."""
        return self.checkpoints / "state.previous.safetensors"

    @property
    def findings(self) -> Path:
        """What the doctor says."""
        return self.path / "findings.json"

    @property
    def page(self) -> Path:
        """The run as one HTML page."""
        return self.path / "index.html"

    def weights(self, epoch: int) -> Path:
        """The weights saved after `epoch` (1, 2, ...)."""
        return self.checkpoints / f"epoch-{epoch:04d}.safetensors"

    def snapshot(self, epoch: int) -> Path:
        """The folder of pictures and arrays taken after `epoch`."""
        return self.path / "snapshots" / f"{epoch:04d}"

    def atlas(self, epoch: int) -> Path:
        """The folder of the atlases of `epoch`."""
        return self.path / "atlas" / f"epoch-{epoch:04d}"

    def history(self, epoch: int) -> Path:
        """What is kept of every unit after `epoch`, to be seen beside the other epochs."""
        return self.path / "atlas" / "history" / f"epoch-{epoch:04d}.safetensors"

    def evaluation(self, split: str) -> Path:
        """What `evaluate` measured on `split`."""
        return self.path / f"evaluation-{split}.json"

    def create(self, info: Mapping[str, Any]) -> None:
        """Make the folder with its `run.json`; a folder that exists already is an error."""
        with explain_disk_errors(self.path):
            try:
                self.path.mkdir(parents=True)
            except FileExistsError as error:
                raise InputError(f"{self.path} exists already; choose another --run or resume it") from error
        try:
            self.begin(info)
        except BaseException:
            self.path.rmdir()  # an empty folder is no run
            raise

    def begin(self, info: Mapping[str, Any]) -> None:
        """Write the first `run.json`."""
        write_json(self.run_json, {"schema_version": SCHEMA_VERSION, **info})

    def info(self) -> dict[str, Any]:
        """The content of `run.json`."""
        if not self.run_json.is_file():
            raise InputError(f"{self.path} is not a run folder: it has no run.json; `cutaway runs` lists the runs")
        info = read_json(self.run_json)
        if not isinstance(info, dict) or "schema_version" not in info:
            raise InputError(f"{self.run_json} is not a run's record: schema_version is missing")
        if info["schema_version"] > SCHEMA_VERSION:
            raise InputError(
                f"{self.run_json} has schema {info['schema_version']}, this version reads up to {SCHEMA_VERSION}; "
                "update Cutaway"
            )
        return info

    def update(self, **changes: Any) -> None:
        """Rewrite `run.json` with `changes`."""
        write_json(self.run_json, {**self.info(), **changes})


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Append `records` as JSON lines in one write and return the file's length in bytes afterwards."""
    text = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    with explain_disk_errors(path), open(path, "ab") as file:
        file.write(text.encode())
        file.flush()
        return file.tell()


def truncate(path: Path, length: int) -> None:
    """Cut `path` back to `length` bytes: what a resumed run is about to write again."""
    if path.exists():
        with explain_disk_errors(path):
            os.truncate(path, min(length, path.stat().st_size))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file; a torn last line is left out, a damaged one elsewhere is an error."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if number == len(lines):
                return
            raise InputError(f"{path} is damaged in line {number}: {error}") from error
