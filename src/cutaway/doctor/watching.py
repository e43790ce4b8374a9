"""`watch`: let the doctor see a training loop that is not Cutaway's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from cutaway.training.stethoscope import Stethoscope


def watch(
    network: nn.Module, optimizer: torch.optim.Optimizer, folder: str | Path, classes: Sequence[str] | int
) -> Stethoscope:
    """Record your own training loop into a run folder, so that `diagnose` can read it.

    Call `step(loss, labels)` after each optimizer step and `epoch(val_loss, val_accuracy)` after each epoch's
    evaluation. The network's calls are seen by a hook; values, gradients and random numbers stay what they are.

    Args:
        network: the network, called with one batch of images.
        optimizer: its optimizer.
        folder: the run folder to make.
        classes: the names of the classes, or their number.

    Example:
        with watch(network, optimizer, "runs/mine", classes=10) as stethoscope:
            for images, labels in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(network(images), labels)
                loss.backward()
                optimizer.step()
                stethoscope.step(loss, labels)
            stethoscope.epoch()
        print(cutaway.diagnose("runs/mine"))
    """
    return Stethoscope(network, optimizer, folder, classes)
