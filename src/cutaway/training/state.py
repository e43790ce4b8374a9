"""The training state on disk: one safetensors file with everything that resuming needs, hashed, two kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cutaway.errors import InputError
from cutaway.files import atomic, parse_json, sync_folder, write_bytes
from cutaway.runs import RunFolder
from cutaway.runs.checked import check
from cutaway.runs.logs import sync
from cutaway.runs.sealed import SEAL, seal, unbroken


@dataclass
class Position:
    """How far a run is. Samples are counted, not steps, so the position means the same at any batch size.

    Attributes:
        epoch: epochs that are complete.
        samples: images of the running epoch that were trained on.
        step: optimizer steps since the beginning.
        loss_sum, correct: of the running epoch, over its samples.
        seconds: time spent training, over all interruptions.
        best_epoch, best_accuracy, best_loss: on the validation split; epoch 0 means none yet.
        metrics_length, vitals_length: bytes of the two logs that belong to this state.
    """

    epoch: int = 0
    samples: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    metrics_length: int = 0
    vitals_length: int = 0


@dataclass(frozen=True)
class State:
    """Position and tensors; `tensors` are named `network/...`, `average/...`, `optimizer/...`."""

    progress: Position
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name/`, without the prefix."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").contiguous()


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors with string metadata as sealed safetensors, atomically."""
    content, _ = seal(save({name: _plain(tensor) for name, tensor in tensors.items()}), metadata)
    write_bytes(path, content)


def save_state(folder: RunFolder, state: State) -> None:
    """Write the state and keep the one before it; at every moment at least one complete state is on disk.

    The logs are flushed to the disk first: what the state says of their lengths is true after a power cut too.
    """
    tensors = {name: _plain(tensor) for name, tensor in state.tensors.items()}
    for log in (folder.metrics, folder.vitals):
        sync(log)
    content, _ = seal(save(tensors), {"progress": json.dumps(_finite(state.progress))})
    with atomic(folder.state) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if folder.state.exists():
            os.replace(folder.state, folder.previous_state)
            sync_folder(folder.checkpoints)


def _read(path: Path) -> State:
    metadata = unbroken(path, needed=False)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # safe_open is no mapping
        known = {item.name for item in fields(Position)}
        # Before schema 2 what is not there yet was written as Infinity, for which JSON has no word.
        stored = parse_json(metadata["progress"].replace("Infinity", "null"))
        values = {key: value for key, value in stored.items() if key in known and value is not None}
        check(values, dict[str, float])
    except (SafetensorError, OSError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    if SEAL not in metadata and metadata.get("sha256") != _hash_of_schema_1(metadata["progress"], tensors):
        raise InputError(f"{path} is damaged (its content does not match its hash)")
    return State(Position(**values), tensors)


def _finite(progress: Position) -> dict[str, float]:
    return {key: value for key, value in asdict(progress).items() if math.isfinite(value)}


def _hash_of_schema_1(progress: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_state(folder: RunFolder) -> tuple[State, list[str]]:
    """The newest undamaged state, and a sentence for each damaged one that was passed over."""
    problems: list[str] = []
    for path in (folder.state, folder.previous_state):
        if not path.exists():
            continue
        try:
            state = _read(path)
        except InputError as error:
            problems.append(str(error))
        else:
            return state, [f"{problem}; using {path.name}" for problem in problems]
    if problems:
        raise InputError(f"no state of {folder.path} can be read: {'; '.join(problems)}; start a new run")
    raise InputError(
        f"{folder.path} has no saved state to continue; begin it again: its `cutaway train` command with "
        f"--runs {quote(str(folder.path.parent))} --run {quote(folder.path.name)}"
    )


def torch_environment() -> dict[str, Any]:
    """What exact repetition depends on beside the recipe."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}
