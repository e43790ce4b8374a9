"""A training loop as people write it, with every mistake of the catalogue as a switch; healthy by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.doctor import watch
from faults.images import Images
from faults.networks import Make, small

LARGE = {"batch": 32, "epochs": 2}  # of a loop over a network that takes long

Loss = Callable[[Tensor, Tensor], Tensor]


def sgd(rate: float = 0.05, momentum: float = 0.9, decay: float = 5e-4) -> Callable[..., torch.optim.Optimizer]:
    """SGD with momentum."""
    return lambda parameters: torch.optim.SGD(parameters, rate, momentum=momentum, weight_decay=decay)


def adam(rate: float = 1e-3, **options: float) -> Callable[..., torch.optim.Optimizer]:
    """Adam."""
    return lambda parameters: torch.optim.Adam(parameters, rate, **options)


def adamw(rate: float = 1e-3, decay: float = 0.01) -> Callable[..., torch.optim.Optimizer]:
    """AdamW."""
    return lambda parameters: torch.optim.AdamW(parameters, rate, weight_decay=decay)


def rmsprop(rate: float = 1e-3) -> Callable[..., torch.optim.Optimizer]:
    """RMSprop."""
    return lambda parameters: torch.optim.RMSprop(parameters, rate)


@dataclass(frozen=True)
class Loop:
    """One training: what is trained on what, and which lines of the loop are there."""

    data: Callable[[], Images]
    make: Make = small
    optimizer: Callable[..., torch.optim.Optimizer] = field(default_factory=adam)
    loss: Loss = F.cross_entropy
    batch: int = 48
    epochs: int = 3
    zero_grad: str = "step"  # "step", "epoch", "never"
    train_mode: str = "epoch"  # "epoch", "once", "never"
    eval_mode: bool = True
    no_grad: bool = True
    shuffle: bool = True
    step: bool = True
    clip: float = 0.0
    accumulate: int = 1
    optimize_other: bool = False
    only_head: bool = False
    evaluate_on_train: bool = False
    eval_input: Callable[[Tensor], Tensor] = lambda images: images
    train_input: Callable[[Tensor], Tensor] = lambda images: images
    schedule: Callable[[float], float] | None = None

    def run(self, folder: Path) -> None:
        """Train and leave a record in `folder`."""
        torch.manual_seed(0)
        data = self.data()
        network = self.make(data.train.shape[1], data.train.shape[2], data.classes)
        optimizer = self.optimizer(self._parameters(network, data))
        network.train(self.train_mode != "never")
        with watch(network, optimizer, folder, data.classes) as stethoscope:
            for epoch in range(self.epochs):
                if self.train_mode == "epoch":
                    network.train()
                if self.zero_grad == "epoch":
                    optimizer.zero_grad()
                if self.schedule:
                    optimizer.param_groups[0]["lr"] *= self.schedule(epoch / self.epochs)
                for number, rows in enumerate(self._order(len(data.train))):
                    images, labels = self.train_input(data.train[rows]), data.train_labels[rows]
                    if self.zero_grad == "step" and number % self.accumulate == 0:
                        optimizer.zero_grad()
                    loss = self.loss(network(images), labels)
                    (loss / self.accumulate).backward()
                    if self.clip:
                        nn.utils.clip_grad_norm_(network.parameters(), self.clip)
                    if (number + 1) % self.accumulate:
                        continue
                    if self.step:
                        optimizer.step()
                    stethoscope.step(loss, labels)
                    if not bool(torch.isfinite(loss)):
                        return
                stethoscope.epoch(*self._evaluate(network, data))

    def _parameters(self, network: nn.Module, data: Images) -> list[nn.Parameter]:
        if self.optimize_other:
            network = self.make(data.train.shape[1], data.train.shape[2], data.classes)
        if self.only_head:
            return list([m for m in network.modules() if isinstance(m, nn.Linear)][-1].parameters())
        return [parameter for parameter in network.parameters() if parameter.requires_grad]

    def _order(self, count: int) -> list[Tensor]:
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        return list(order[: count - count % self.batch].split(self.batch))

    def _evaluate(self, network: nn.Module, data: Images) -> tuple[float, float]:
        images, labels = (data.train, data.train_labels) if self.evaluate_on_train else (data.val, data.val_labels)
        if self.eval_mode:
            network.eval()
        loss = correct = 0.0
        with torch.set_grad_enabled(not self.no_grad):
            for rows in torch.arange(len(images)).split(250):
                outputs = network(self.eval_input(images[rows]))
                loss += float(F.cross_entropy(outputs, labels[rows])) * len(rows)
                correct += int((outputs.argmax(1) == labels[rows]).sum())
        return loss / len(images), correct / len(images)
