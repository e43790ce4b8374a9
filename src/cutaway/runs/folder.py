"""The run folder: where each thing lies, and how its records are written and read. This layout is the contract.

fashion-resnet18-1/
  run.json              schema_version, data, model, recipe, environment, status
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

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cutaway.errors import InputError
from cutaway.files import explain_disk_errors, parse_json, sync_folder
from cutaway.runs import logs
from cutaway.runs.checked import Wrong, check
from cutaway.runs.links import check_links
from cutaway.runs.schema import SCHEMA_VERSION, RunInfo
from cutaway.runs.sealed import header, read_sealed_json, write_sealed_json


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
        self._write({"schema_version": SCHEMA_VERSION, "id": secrets.token_hex(8), **info})
        sync_folder(self.path.parent)

    def info(self) -> RunInfo:
        """The content of `run.json`.

        Raises:
            InputError: there is none, it is of a newer version, damaged, or not what a run's record is.
        """
        if not os.path.isfile(self.run_json):
            raise InputError(f"{self.path} is not a run folder: it has no run.json; `cutaway runs` lists the runs")
        check_links(self.path, deep=False)
        info, sealed = read_sealed_json(self.run_json)
        version = info.get("schema_version")
        if type(version) is not int:
            raise InputError(f"{self.run_json} is not a run's record: schema_version is missing")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{self.run_json} has schema {version}, this version reads up to {SCHEMA_VERSION}; update Cutaway"
            )
        if version > 1 and not sealed:
            raise InputError(f"{self.run_json} is damaged: it has lost its seal")
        return self._checked(info)

    def _checked(self, info: Mapping[str, Any]) -> RunInfo:
        try:
            check(info, RunInfo)
            found = cast(RunInfo, info)
            _agree(found)
        except Wrong as wrong:
            raise InputError(f"{self.run_json} is not a run's record: {wrong}") from wrong
        return found

    def update(self, **changes: Any) -> None:
        """Rewrite `run.json` with `changes`, and with how long the logs are once nobody writes them any more.

        The logs are flushed to the disk first: what is said of their lengths is true after a power cut too.
        """
        info = {**self.info(), **changes}
        if info["status"] != "training":
            known = [path for path in (self.metrics, self.vitals) if path.is_file()]
            for path in known:
                logs.sync(path)
            info["logs"] = {path.name: path.stat().st_size for path in known}
        self._write(info)

    def _write(self, info: Mapping[str, Any]) -> None:
        write_sealed_json(self.run_json, self._checked(info))

    def log(self, path: Path, info: RunInfo | None = None) -> logs.Log:
        """One of the two logs, with what is known of it."""
        info = info or self.info()
        lengths = info.get("logs", {}) if info["status"] != "training" else self._promised()
        return logs.Log(path, info.get("id", ""), lengths.get(path.name, 0))

    def _promised(self) -> dict[str, int]:
        """How long the logs were when the newest state was written: they are never shorter."""
        try:
            progress = parse_json(header(self.state).get("progress", "{}"))
            return {name: int(progress[key]) for name, key in _LENGTHS.items() if key in progress}
        except (InputError, ValueError, TypeError):
            return {}  # no state yet, or a damaged one, which `resume` speaks of


_LENGTHS = {"metrics.jsonl": "metrics_length", "vitals.jsonl": "vitals_length"}


def _agree(info: RunInfo) -> None:
    """What belongs together is of one size."""
    shape, preprocessing = info["data"].get("shape"), info["model"]["preprocessing"]
    if shape is not None and len(shape) != 3:
        raise Wrong(f"data.shape: expected channels, height and width, found {len(shape)} numbers")
    if preprocessing is not None:
        channels = preprocessing["shape"][0] if len(preprocessing["shape"]) == 3 else None
        if not channels == len(preprocessing["mean"]) == len(preprocessing["std"]):
            raise Wrong("model.preprocessing: expected a shape of three numbers, and a mean and std for each channel")
        if 0 in preprocessing["std"]:
            raise Wrong("model.preprocessing.std: expected no zero")


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Append `records` to a log of the run in whose folder it lies; its length in bytes afterwards."""
    folder = RunFolder(path.parent)
    return logs.append(folder.log(path) if folder.run_json.is_file() else logs.Log(path), records)
