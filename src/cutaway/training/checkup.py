"""Check-ups: what a doctor would want to know of one training step, as plain data.

A check-up is taken at the steps 1, 2, 5, 10, 20, 50, ... and at the last step of each epoch, and is one line of
`vitals.jsonl`. It costs one forward pass over a part of the batch and a walk over the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.torch_inside import BatchNorm, Dropout
from cutaway.lenses.activations import ActivationTotals
from cutaway.lenses.capture import is_leaf
from cutaway.lenses.saturation import is_activation
from cutaway.restoring import untouched
from cutaway.training.vitals import StepVitals, finite, norm

_IMAGES = 32
_SAMPLED = 20_000
_MOST_CLASSES = 200
_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, Dropout)
_NORMS = (BatchNorm,)
_DROPOUTS = (Dropout,)


def due(step: int) -> bool:
    """Whether the step is one of 1, 2, 5, 10, 20, 50, 100, ...

    >>> [step for step in range(1, 300) if due(step)]
    [1, 2, 5, 10, 20, 50, 100, 200]
    """
    digits = str(step)
    return digits[0] in "125" and not digits[1:].strip("0")


@torch.no_grad()
def input_facts(images: Tensor) -> dict[str, Any]:
    """Shape, mean and deviation per channel, and the extremes of a batch (N, C, H, W) as the network got it."""
    values = images.detach().float()
    others = [axis for axis in range(values.ndim) if axis != 1]
    return {
        "shape": list(values.shape),
        "mean": [finite(mean) for mean in values.mean(others).tolist()],
        "std": [finite(std) for std in values.std(others, correction=0).tolist()],
        "min": finite(float(values.min())),
        "max": finite(float(values.max())),
        **_ends(values),
        "spread": _between_images(values),
    }


def _ends(values: Tensor) -> dict[str, list[float | None]]:
    """How dark and how light each colour gets: the 2nd and the 98th percentile of a sample."""
    flat = values.transpose(0, 1).flatten(1)
    sample = flat[:, :: max(1, flat.shape[1] // _SAMPLED)].cpu()
    low, high = torch.quantile(sample, torch.tensor([0.02, 0.98]), dim=1).tolist()
    return {"low": [finite(value) for value in low], "high": [finite(value) for value in high]}


def label_facts(labels: Tensor) -> dict[str, Any]:
    """Kind, extremes and counts of a batch of labels, and how often two neighbours are equal."""
    indices = labels.detach().argmax(1) if labels.ndim > 1 else labels.detach()
    plain = indices.long().cpu()
    low, high = int(plain.min()), int(plain.max())
    same = float((plain[1:] == plain[:-1]).double().mean()) if len(plain) > 1 else None
    small = low >= 0 and high < _MOST_CLASSES
    return {
        "one_hot": labels.ndim > 1,
        "min": low,
        "max": high,
        "counts": torch.bincount(plain).tolist() if small else None,
        "equal_neighbours": same,
    }


def logit_facts(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """The facts about outputs (N, classes), and cross-entropy and accuracy where the labels fit them."""
    facts = outputs_facts(logits)
    return {**facts, **_answers(logits, labels.detach())} if facts["finite"] else facts


@torch.no_grad()
def outputs_facts(logits: Tensor) -> dict[str, Any]:
    """How a batch of outputs (N, classes) is spread, whether they are probabilities, and what they predict."""
    values = logits.detach().float().flatten(1)
    if not bool(torch.isfinite(values).all()):
        return {"shape": list(values.shape), "finite": False}
    predicted = torch.bincount(values.argmax(1), minlength=values.shape[1])
    return {
        "shape": list(values.shape),
        "finite": True,
        "std": finite(float(values.std(correction=0))),
        **_ends(values),
        "spread": _between_images(values) or 0.0,
        "min": finite(float(values.min())),
        "max": finite(float(values.max())),
        "zero_fraction": finite(float((values == 0).double().mean())),
        "probabilities": bool((values >= 0).all() and ((values.sum(1) - 1).abs() < 1e-3).all()),
        "predicted_classes": int((predicted > 0).sum()),
        "largest_share": finite(float(predicted.max()) / len(values)),
        "confidence": finite(float(values.softmax(1).amax(1).mean())),
    }


@torch.no_grad()
def _answers(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    values = logits.detach().float().flatten(1)
    indices = labels.argmax(1) if labels.ndim > 1 else labels.long()
    if len(indices) != len(values) or int(indices.min()) < 0 or int(indices.max()) >= values.shape[1]:
        return {"cross_entropy": None, "squared_error": None, "target": None, "accuracy": None}
    errors = (values - F.one_hot(indices, values.shape[1])).square().mean()
    return {
        "cross_entropy": finite(float(F.cross_entropy(values, indices))),
        "squared_error": finite(float(errors)),
        "target": finite(float(values.gather(1, indices[:, None]).mean())),
        "accuracy": finite(float((values.argmax(1) == indices).double().mean())),
    }


def optimizer_facts(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Any]:
    """Kind, rate and decay, and the trainable parameters that it does not have."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    first = optimizer.param_groups[0]
    missing = [name for name, value in network.named_parameters() if value.requires_grad and id(value) not in held]
    return {
        "kind": type(optimizer).__name__,
        "lr": finite(float(first["lr"])),
        "momentum": finite(float(first.get("momentum", (first.get("betas") or (0.0,))[0]))),
        "weight_decay": max(float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups),
        "missing": missing,
    }


def mode_facts(network: nn.Module) -> dict[str, Any]:
    """The layers that behave differently in training, and how many of them are in training mode."""
    moody = [module for module in network.modules() if isinstance(module, (*_NORMS, *_DROPOUTS))]
    return {
        "training": network.training,
        "batch_norms": sum(isinstance(module, _NORMS) for module in moody),
        "dropouts": [float(module.p) for module in moody if isinstance(module, _DROPOUTS)],
        "in_training": sum(module.training for module in moody),
    }


class Activity:
    """What each layer returns for a part of a batch: spread between images, zeros, dead and saturated channels."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.outputs: dict[str, dict[str, float | None]] = {}
        self.last: tuple[str, str] = ("", "")
        totals = ActivationTotals(network)
        with untouched(network), torch.no_grad(), totals.watching(), ExitStack() as stack:
            for name, module in network.named_modules():
                if is_leaf(module):
                    stack.enter_context(module.register_forward_hook(self._seen(name)))
            network(images[:_IMAGES])
        self.activations = totals.result()
        self.by_source = {each.source: each for each in reversed(list(self.activations.values()))}
        if self.last[0] in self.by_source:  # an activation that is a function, behind the last layer
            self.last = (self.by_source[self.last[0]].layer, "function")

    def _seen(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            if not isinstance(module, _PASSING):
                self.last = (name, type(module).__name__)
            if name not in self.outputs and getattr(module, "weight", None) is not None:
                self.outputs[name] = {} if isinstance(module, _NORMS) else _spread(output)

        return hook

    def line(self, layer: str) -> dict[str, Any]:
        """The part of a layer's record that says what it and the activation behind it return."""
        seen, activation = self.outputs.get(layer, {}), self.by_source.get(layer)
        return {
            "reached": layer in self.outputs,
            "output_scale": seen.get("scale"),
            "output_spread": seen.get("spread"),
            "zero_fraction": finite(activation.zero_fraction) if activation else None,
            "dead_fraction": finite(activation.dead_fraction) if activation else None,
            "saturated_fraction": finite(activation.saturated_fraction) if activation else None,
            "activation": activation.layer if activation else None,
        }

    def facts(self) -> dict[str, Any]:
        """How many activations there are, and which layer made the outputs."""
        return {"activations": len(self.activations), "last_layer": self.last[0], "last_kind": self.last[1]}


def _spread(output: Tensor) -> dict[str, float | None]:
    """The size of a layer's output, and the part of it that differs from image to image."""
    values = output.detach().float()
    scale = float(values.square().mean().sqrt())
    return {"scale": finite(scale), "spread": _between_images(values)}


def _between_images(values: Tensor) -> float | None:
    """The mean standard deviation from image to image (several times sooner than `std(0)`), or None for one image."""
    return finite(float((values - values.mean(0)).square().mean(0).sqrt().mean())) if len(values) > 1 else None


def layer_lines(vitals: StepVitals, activity: Activity) -> list[dict[str, Any]]:
    """A record for each layer with a weight, frozen ones too, after the optimizer's step."""
    lines = []
    for name, module in vitals.network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            moved = vitals.movement(name, weight) if name in vitals.before else _still(weight)
            described = {"layer": name, "kind": type(module).__name__, "fan_in": weight.numel() // max(1, len(weight))}
            lines.append({**described, **moved, **activity.line(name)})
    return lines


def _still(weight: Tensor) -> dict[str, Any]:
    """The record of a frozen layer."""
    return {
        "trains": False,
        "gradient_norm": None,
        "weight_norm": finite(norm(weight)),
        "weight_std": finite(float(weight.detach().float().std(correction=0))),
        "update_ratio": 0.0,
        "finite": bool(torch.isfinite(weight).all()),
    }


def first_bad(network: nn.Module, images: Tensor) -> dict[str, str]:
    """The first layer whose weight or output is not finite: `layer`, and `where` ("weights", "output", "loss")."""
    for name, value in network.named_parameters():
        if not torch.isfinite(value).all():
            return {"layer": name.rpartition(".")[0], "where": "weights"}
    found: list[str] = []

    def seen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    with untouched(network), torch.no_grad(), ExitStack() as stack:
        for name, module in network.named_modules():
            if is_leaf(module) or is_activation(module):
                stack.enter_context(module.register_forward_hook(seen(name)))
        network(images)
    return {"layer": found[0], "where": "output"} if found else {"layer": "", "where": "loss"}


class Checkup:
    """One step under observation: made between the backward pass and the optimizer's step, read after it."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: float) -> None:
        self.network = network
        self.vitals = StepVitals(network)
        self.activity = Activity(network, images)
        self.facts: dict[str, Any] = {}
        self.describe(images, labels, logits, loss)

    def describe(self, images: Tensor, labels: Tensor, logits: Tensor, loss: float) -> None:
        """What the step was given and answered."""
        self.facts = {
            "loss": finite(loss),
            "input": input_facts(images),
            "labels": label_facts(labels),
            "logits": logit_facts(logits, labels),
            "modes": mode_facts(self.network),
            "structure": self.activity.facts(),
        }

    def line(self, epoch: int, step: int, optimizer: torch.optim.Optimizer | None, **more: Any) -> dict[str, Any]:
        """The record for `vitals.jsonl`, after the optimizer's step number `step`."""
        held = optimizer_facts(optimizer, self.network) if optimizer else None
        start = {"kind": "checkup", "epoch": epoch, "step": step}
        return {**start, **self.facts, "optimizer": held, **more, "layers": layer_lines(self.vitals, self.activity)}
