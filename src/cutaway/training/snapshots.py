"""What an epoch leaves behind: pictures and arrays of the probe images, and as many weights as the disk can bear."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch

from cutaway.errors import InputError
from cutaway.files import write_with
from cutaway.lenses.snapshot import take_snapshot
from cutaway.pictures import snapshot_pictures
from cutaway.training.state import write_weights

if TYPE_CHECKING:
    from cutaway.training.session import Session

PROBES = 8
# All saved epochs of a run together; beyond it only every n-th epoch, the best and the last are kept.
_WEIGHTS_BUDGET = 4_000_000_000


def probe_positions(labels: np.ndarray, count: int = PROBES) -> np.ndarray:
    """Positions of `count` images of different classes, as far as there are so many."""
    _, first = np.unique(labels, return_index=True)
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, rest])[:count]


def save_snapshot(session: Session, epoch: int) -> None:
    """Write `snapshots/NNNN/`: arrays.safetensors and a PNG each of maps, kernels and gradients."""
    split = session.data.splits["val"]
    chosen = probe_positions(split.labels)
    images, labels = torch.from_numpy(split.images[chosen]), torch.from_numpy(split.labels[chosen])
    try:
        arrays = take_snapshot(session.model.network, session.input(images), labels.to(session.plan.device))
    except InputError:
        return  # a network without convolutions has no maps to show
    folder = session.folder.snapshot(epoch)
    names = {"labels": json.dumps([session.data.classes[label] for label in labels.tolist()], ensure_ascii=False)}
    layers = [name.removeprefix("maps/") for name in arrays if name.startswith("maps/")]
    about = {**session.marks(epoch), **names, "layers": json.dumps(layers)}
    write_weights(folder / "arrays.safetensors", {**arrays, "images": images}, about)
    pictures = snapshot_pictures({name: value.numpy() for name, value in arrays.items()})
    for name, picture in pictures.items():
        write_with(folder / f"{name}.png", lambda file, picture=picture: file.write(picture.png()))  # type: ignore[misc]  # mypy cannot infer a lambda's default


def keep_affordable(session: Session, epoch: int) -> None:
    """Delete the weights of epochs that the budget has no room for; the best and the last always stay."""
    size = session.folder.weights(epoch).stat().st_size
    every = max(1, -(-session.recipe.epochs * size // _WEIGHTS_BUDGET))
    for old in range(1, epoch):
        if old % every and old != session.progress.best_epoch:
            session.folder.weights(old).unlink(missing_ok=True)


def remove_snapshots_after(session: Session, epoch: int) -> None:
    """Forget snapshots of epochs that are about to be trained again."""
    for path in session.folder.snapshot(1).parent.glob("*"):
        if path.name.isdigit() and int(path.name) > epoch:
            shutil.rmtree(path)
