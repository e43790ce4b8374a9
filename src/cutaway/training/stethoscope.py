"""A stethoscope on somebody else's training loop: the same record as a run of Cutaway's, for the doctor to read.

What a loop gets wrong (gradients that are never cleared, a network left in the wrong mode, data in order) can only be
seen from outside the network's layers: in which mode it runs, what it is given, and what the optimizer finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.runs import Run, RunFolder, append_lines, new_run
from cutaway.training.checkup import Checkup, due, first_bad
from cutaway.training.passes import Passes
from cutaway.training.seen import Freshness, Seen
from cutaway.training.state import torch_environment
from cutaway.training.vitals import finite
from cutaway.version import __version__

_LOG_EVERY = 10


class Stethoscope:
    """Records a training loop into a run folder; made by `cutaway.doctor.watch`."""

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, folder: str | Path, classes: Sequence[str] | int
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.classes = [str(n) for n in range(classes)] if isinstance(classes, int) else list(classes)
        self.epoch_number, self.steps, self.optimizer_steps = 1, 0, 0
        self.loss_sum, self.correct, self.samples = 0.0, 0, 0
        self.seen = Seen()
        self.passes = Passes(network, self.seen)
        self.fresh = Freshness(network)
        self.pending: Checkup | None = None
        self.broken = False
        self.handles = [
            optimizer.register_step_pre_hook(self._before_optimizer),
            optimizer.register_step_post_hook(self._after_optimizer),
        ]
        self._ours = ExitStack()  # the run folder stays locked until `close`
        self.folder: RunFolder = self._ours.enter_context(new_run(Path(folder).parent, Path(folder).name, ""))
        self.folder.begin(self._info())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self, loss: Tensor | float, labels: Tensor) -> None:
        """Tell of one step: after `loss.backward()` and `optimizer.step()`, the loss and the batch's labels (N,)."""
        given = self.passes.training
        if given is None:
            raise InputError("no forward pass was seen before step(); call the network that was given to watch()")
        value = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
        self.steps += 1
        self._count(value, given.logits, labels)
        self.seen.training(given.images, labels)
        with self.passes.rest():
            if finite(value) is None:
                self._note_broken(given.images, self.steps)
            elif due(self.steps):
                self._note_checkup(given.images, given.logits, labels, value)
        self.pending = None
        self.passes.stepped()

    def epoch(self, val_loss: float | None = None, val_accuracy: float | None = None) -> None:
        """Tell that an epoch ended, with what was measured on the validation images (accuracy 0..1)."""
        if not self.samples:
            raise InputError("no step was told of in this epoch; call step(loss, labels) after each optimizer step")
        facts = {
            "evaluation": self.passes.evaluation_facts(),
            "passes": self.passes.counts(),
            "seen": self.seen.facts(),
        }
        start = {"kind": "checkup", "epoch": self.epoch_number, "step": self.steps, "end_of_epoch": True}
        append_lines(self.folder.vitals, [{**start, **facts}])
        append_lines(self.folder.metrics, [self._epoch_line(val_loss, val_accuracy)])
        self.epoch_number, self.loss_sum, self.correct, self.samples = self.epoch_number + 1, 0.0, 0, 0
        self.passes.next_epoch()
        self.seen.next_epoch()

    def close(self) -> Run:
        """Take the stethoscope off; the network and the optimizer are as they would be without it."""
        for handle in self.handles:
            handle.remove()
        self.passes.close()
        self.fresh.close()
        with self._ours:
            self.folder.update(status="diverged" if self.broken else "finished")
        return Run(self.folder)

    def _before_optimizer(self, *_: Any) -> None:
        """What the optimizer finds, before it moves anything."""
        self.optimizer_steps += 1
        self.fresh.compare()
        given = self.passes.training
        if given is not None and not bool(torch.isfinite(given.logits).all()):
            with self.passes.rest():  # now, because this step spoils all weights
                self._note_broken(given.images, self.steps + 1)
        elif due(self.steps + 1) and given is not None and self.pending is None:
            with self.passes.rest():
                self.pending = Checkup(self.network, given.images, given.logits.argmax(1), given.logits, 0.0)

    def _after_optimizer(self, *_: Any) -> None:
        self.fresh.forget()

    def _note_checkup(self, images: Tensor, logits: Tensor, labels: Tensor, loss: float) -> None:
        checkup = self.pending or Checkup(self.network, images, labels, logits, loss)
        checkup.describe(images, labels, logits, loss)
        more = {
            "optimizer_steps": self.optimizer_steps,
            "fresh_gradient": self.fresh.cosine,
            "passes": self.passes.counts(),
            "seen": self.seen.facts(),
        }
        append_lines(self.folder.vitals, [checkup.line(self.epoch_number, self.steps, self.optimizer, **more)])

    def _note_broken(self, images: Tensor, step: int) -> None:
        if self.broken:
            return
        self.broken = True
        start = {"kind": "checkup", "epoch": self.epoch_number, "step": step, "loss": None}
        append_lines(self.folder.vitals, [{**start, "first_bad": first_bad(self.network, images)}])

    def _count(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        indices = labels.argmax(1) if labels.ndim > 1 else labels
        self.samples += len(labels)
        self.loss_sum += loss * len(labels)
        self.correct += int((logits.flatten(1).argmax(1) == indices).sum())
        if self.steps % _LOG_EVERY == 0 or due(self.steps):
            append_lines(self.folder.metrics, [self._step_line(loss)])

    def _step_line(self, loss: float) -> dict[str, Any]:
        return {
            "kind": "step",
            "epoch": self.epoch_number,
            "step": self.steps,
            "samples": self.samples,
            "loss": finite(loss),
            "accuracy": finite(self.correct / self.samples),
            "lr": finite(float(self.optimizer.param_groups[0]["lr"])),
        }

    def _epoch_line(self, val_loss: float | None, val_accuracy: float | None) -> dict[str, Any]:
        return {
            "kind": "epoch",
            "epoch": self.epoch_number,
            "step": self.steps,
            "samples": self.samples,
            "train_loss": finite(self.loss_sum / self.samples),
            "train_accuracy": finite(self.correct / self.samples),
            "val_loss": None if val_loss is None else finite(float(val_loss)),
            "val_accuracy": None if val_accuracy is None else finite(float(val_accuracy)),
            "lr": finite(float(self.optimizer.param_groups[0]["lr"])),
        }

    def _info(self) -> dict[str, Any]:
        kind = type(self.network).__name__
        group = self.optimizer.param_groups[0]
        return {
            "status": "training",
            "watched": True,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": {"source": "", "name": "", "classes": self.classes, "splits": {}, "notes": [], "quarantine": []},
            "model": {"spec": kind, "options": {}, "classes": self.classes, "preprocessing": None},
            "recipe": {"optimizer": type(self.optimizer).__name__.lower(), "learning_rate": float(group["lr"])},
            "plan": {},
            "environment": {"cutaway": __version__, **torch_environment()},
        }
