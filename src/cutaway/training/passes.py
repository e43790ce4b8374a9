"""Which forward passes a training loop makes: in training or evaluation mode, with or without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.training.checkup import input_facts, outputs_facts
from cutaway.training.seen import Seen

_WAITING = 8


@dataclass(frozen=True)
class Pass:
    """One forward pass: images (N, C, H, W), logits (N, classes), detached."""

    images: Tensor
    logits: Tensor


class Passes:
    """Hears of every call of a network by a hook on it.

    A pass with gradients is taken for training until an epoch ends with passes that no step followed; a pass without
    gradients, or in evaluation mode, for evaluation.
    """

    def __init__(self, network: nn.Module, seen: Seen) -> None:
        self.network, self.seen = network, seen
        self.training: Pass | None = None
        self.evaluation: dict[str, Any] | None = None
        self.resting = False
        self._fresh()
        self.handle = network.register_forward_hook(self._called, with_kwargs=True)

    def _fresh(self) -> None:
        self.steps_in_eval_mode = self.evaluated_in_training = self.evaluated = 0
        self.waiting: list[tuple[bool, Pass]] = []

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        images = next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)
        if self.resting or images is None or not isinstance(output, Tensor):
            return
        given = Pass(images.detach(), output.detach())
        if torch.is_grad_enabled():
            self.training = given
            self.waiting = [*self.waiting[1 - _WAITING :], (module.training, given)]
        else:
            self._evaluated(module.training, given)

    def _evaluated(self, training: bool, given: Pass) -> None:
        self.evaluated += 1
        self.evaluated_in_training += training
        self.seen.evaluation(given.images)
        if self.evaluation is None:
            self.evaluation = {
                "training": training,
                "input": input_facts(given.images),
                "logits": outputs_facts(given.logits),
            }

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Passes made inside are a check-up's own and do not count."""
        self.resting = True
        try:
            yield
        finally:
            self.resting = False

    def stepped(self) -> None:
        """The passes since the last step were for training."""
        self.steps_in_eval_mode += bool(self.waiting) and not self.waiting[-1][0]
        self.waiting = []

    def evaluation_facts(self) -> dict[str, Any] | None:
        """What the first evaluation pass of the epoch was given and answered."""
        for training, given in self.waiting:  # passes with gradients that no step followed
            self._evaluated(training, given)
        self.waiting = []
        return self.evaluation

    def counts(self) -> dict[str, int]:
        """Passes of the running epoch by what was wrong with them."""
        return {
            "steps_in_eval_mode": self.steps_in_eval_mode,
            "evaluated": self.evaluated,
            "evaluated_in_training": self.evaluated_in_training,
        }

    def next_epoch(self) -> None:
        """Count from zero."""
        self.evaluation = None
        self._fresh()

    def close(self) -> None:
        """Take the hook off."""
        self.handle.remove()
