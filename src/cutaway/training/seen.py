"""What a training loop shows its network: which images, in which order, and gradients that are fresh or left over."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.data.facts import label_control

_MOST_IMAGES = 50_000
_CONTROL_IMAGES = 600
_SMALL = 8
_WATCHED_NUMBERS = 4_096


class Seen:
    """Remembers each image of the first epoch by one number, some of them small, and the labels' order."""

    def __init__(self) -> None:
        self.trained: set[float] = set()
        self.evaluated: set[float] = set()
        self.count = self.equal = self.neighbours = 0
        self.small: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.counts: Counter[int] = Counter()
        self.first_labels: str | None = None
        self.orders: list[str] = []
        self.epoch = 1
        self.last_label: int | None = None

    def training(self, images: Tensor, labels: Tensor) -> None:
        """One batch that was learnt from."""
        plain = (labels.argmax(1) if labels.ndim > 1 else labels).detach().long().cpu()
        if self.first_labels is None:
            self.first_labels = hashlib.blake2b(plain.numpy().tobytes(), digest_size=8).hexdigest()
            self.orders.append(self.first_labels)
        if self.epoch > 1:
            return
        self._order(plain)
        if len(self.trained) < _MOST_IMAGES:
            self.trained.update(fingerprints(images))
        if sum(map(len, self.labels)) < _CONTROL_IMAGES and images.ndim == 4:
            self.small.append(F.adaptive_avg_pool2d(images.float(), _SMALL).cpu())
            self.labels.append(plain)

    def _order(self, plain: Tensor) -> None:
        self.count += len(plain)
        self.equal += int((plain[1:] == plain[:-1]).sum()) + (self.last_label == int(plain[0]))
        self.neighbours += len(plain) - 1 + (self.last_label is not None)
        self.last_label = int(plain[-1])
        self.counts.update(plain.tolist())

    def evaluation(self, images: Tensor) -> None:
        """One batch that was measured."""
        if self.epoch == 1 and len(self.evaluated) < _MOST_IMAGES:
            self.evaluated.update(fingerprints(images))

    def facts(self) -> dict[str, Any]:
        """Counts so far, the order of the labels, the overlap of what is learnt and measured, and the label control."""
        return {
            "images": self.count,
            "distinct": len(self.trained),
            "counts": {str(label): number for label, number in sorted(self.counts.items())},
            "equal_neighbours": self.equal / self.neighbours if self.neighbours else None,
            "same_order": len(self.orders) > 1 and len(set(self.orders)) == 1,
            "evaluated": len(self.evaluated),
            "evaluated_in_training_set": len(self.evaluated & self.trained),
            "label_control": self._control(),
        }

    def _control(self) -> dict[str, float] | None:
        if sum(map(len, self.labels)) < 100:
            return None
        labels = torch.cat(self.labels)
        return label_control(torch.cat(self.small).numpy(), labels.numpy()) if int(labels.min()) >= 0 else None

    def next_epoch(self) -> None:
        """The next epoch is looked at for its order alone."""
        self.epoch += 1
        self.first_labels = None


@torch.no_grad()
def fingerprints(images: Tensor) -> list[float]:
    """A number for each image (N, ...) that any changed value changes: a sum with fixed random weights."""
    flat = images.detach().flatten(1).double()
    weights = torch.rand(flat.shape[1], generator=torch.Generator().manual_seed(5917), dtype=torch.float64)
    return [float(f"{value:.9g}") for value in (flat * weights.to(flat.device)).sum(1).tolist()]


class Freshness:
    """Whether the gradients that the optimizer finds are those of the passes since its last step.

    A hook on a few parameters adds up what each backward pass brings. Clipping and scaling keep the direction, so the
    cosine between that sum and the gradient is compared: 1 when it is fresh, less when old gradients are in it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.watched = _small_parameters(network)
        self.sums: dict[int, Tensor] = {}
        self.cosine: float | None = None
        self.handles = [self._hooked(parameter) for parameter in self.watched]

    def _hooked(self, parameter: nn.Parameter) -> Any:
        def hook(gradient: Tensor) -> None:
            old = self.sums.get(id(parameter))
            self.sums[id(parameter)] = gradient.detach().clone() if old is None else old + gradient.detach()

        return parameter.register_hook(hook)  # type: ignore[no-untyped-call]  # torch does not annotate it

    def compare(self) -> None:
        """Before the optimizer's step: how much of the gradient is fresh."""
        pairs = [(self.sums[id(p)], p.grad) for p in self.watched if id(p) in self.sums and p.grad is not None]
        if not pairs:
            self.cosine = None
            return
        fresh, found = (torch.cat([pair[side].flatten().double() for pair in pairs]) for side in (0, 1))
        cosine = float(F.cosine_similarity(fresh, found, dim=0))
        usable = bool(torch.isfinite(fresh).all() and torch.isfinite(found).all()) and float(fresh.norm()) > 0
        self.cosine = round(cosine, 6) if usable else None

    def forget(self) -> None:
        """After the optimizer's step: the next sum begins."""
        self.sums = {}

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()


def _small_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters, the smallest first, of a few thousand numbers together."""
    chosen: list[nn.Parameter] = []
    for parameter in sorted((p for p in network.parameters() if p.requires_grad), key=torch.numel):
        if chosen and sum(map(torch.numel, chosen)) + parameter.numel() > _WATCHED_NUMBERS:
            break
        chosen.append(parameter)
    return chosen
