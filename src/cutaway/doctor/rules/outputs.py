"""The last layer and the loss: what stands between the network's answer and its gradient."""

from __future__ import annotations

import math

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import Record
from cutaway.doctor.rule import Said, rule, say

_SYMPTOMS = (
    "labels-without-meaning",
    "stuck-at-chance",
    "one-batch-not-learnt",
    "constant-prediction",
    "dead-units",
    "saturated-units",
    "vanishing-gradients",
    "signal-fades",
    "underfitting",
    "rate-too-low",
    "first-loss",
    "not-updated",
)
_HARMLESS = ("Linear", "Conv2d", "Conv1d", "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d")


@rule("softmax-before-loss", explains=(*_SYMPTOMS, "activation-on-logits"), tries=("no-last-activation",))
def softmax_before_loss(record: Record) -> Said | None:
    """The outputs are probabilities already, and cross-entropy takes the softmax of them once more."""
    found = [c for c in record.looked if c["logits"]["probabilities"]]
    if not found or not record.loss_is_cross_entropy or len(found) < len(record.looked):
        return None
    lowest = math.log(1 + (record.classes - 1) / math.e)
    return say(
        "error",
        f"the outputs are probabilities (they sum to 1), so that the loss cannot fall under about {lowest:.2f}",
        cause="a softmax before cross-entropy, which takes the softmax itself: gradients become small",
        remedy="in your network: leave out the last softmax"
        if record.watched
        else train_again(record, "--change no-last-activation"),
        layer=found[0]["structure"]["last_layer"],
        step=found[0]["step"],
        chart=line_chart("step", "loss", record.losses, record.chance, "ln C"),
        floor=lowest,
    )


@rule("activation-on-logits", explains=_SYMPTOMS, tries=("no-last-activation", "batch-norm"))
def activation_on_logits(record: Record) -> Said | None:
    """An activation after the last layer cuts off answers and their gradients."""
    if record.first is None:
        return None
    logits, structure = record.first["logits"], record.first["structure"]
    kind = structure["last_kind"]
    cut = logits["min"] == 0 and logits["zero_fraction"] > 0.02
    squeezed = kind in ("Sigmoid", "Tanh", "Hardtanh", "Hardsigmoid", "ReLU6") or _squeezing(structure["last_layer"])
    if not (cut or squeezed) or logits["probabilities"] or (kind in _HARMLESS and not cut):
        return None
    zeros = record.last["logits"]["zero_fraction"] if record.last else logits["zero_fraction"]
    named = kind if kind != "function" else structure["last_layer"].rpartition(".")[2]
    return say(
        "error" if cut or record.fails else "warning",
        f"the outputs come from {named} ('{structure['last_layer']}'): {zeros:.0%} of them are exactly 0"
        if cut
        else f"the outputs come from {named} ('{structure['last_layer']}') and stay in {logits['min']:.2g} to "
        f"{logits['max']:.2g}",
        cause="an activation after the last layer: where it cuts an output off, no gradient comes through, and an "
        "output that is off for all images never learns again",
        remedy="in your network: leave out the activation after the last layer"
        if record.watched
        else train_again(record, "--change no-last-activation"),
        layer=structure["last_layer"],
        step=record.first["step"],
        chart=line_chart("step", "loss", record.losses, record.chance, "ln C"),
        zero_fraction=zeros,
        spread=record.last["logits"]["spread"] if record.last else None,
    )


def _squeezing(layer: str) -> bool:
    return layer.endswith((".sigmoid()", ".tanh()", "sigmoid()", "tanh()"))


@rule("no-activation", explains=("underfitting",))
def no_activation(record: Record) -> Said | None:
    """Nothing but linear layers: the whole network is one linear map."""
    if record.first is None or record.first["structure"]["activations"] or len(record.layers) < 2:
        return None
    return say(
        record.worst(),
        f"there is no activation between the {len(record.layers)} layers",
        cause="linear layers without an activation between them are together one linear layer",
        remedy="in your network: nn.ReLU() after each layer but the last",
        layer=record.layers[0],
        layers=len(record.layers),
    )


@rule("first-loss")
def first_loss(record: Record) -> Said | None:
    """The first loss is far from ln C."""
    if record.first is None or record.first["step"] > 2 or record.info["model"].get("options", {}).get("weights"):
        return None
    first = record.first["logits"]["cross_entropy"]
    if first is None or first < record.chance + max(1.0, 0.6 * record.chance):
        return None
    return say(
        record.worst(),
        f"the first loss is {first:.2f}; a network that knows nothing yet has ln {record.classes} = "
        f"{record.chance:.2f}",
        cause="the first outputs are far too large: weights that begin too large, or an input that is not normalised",
        remedy=train_again(record, initialisation="kaiming"),
        step=record.first["step"],
        loss=first,
        chance=record.chance,
        largest_output=record.first["logits"]["max"],
    )
