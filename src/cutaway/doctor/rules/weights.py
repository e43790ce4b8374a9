"""Weights as they begin: all alike, too large or too small."""

from __future__ import annotations

import math

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import Record, weighted
from cutaway.doctor.rule import Said, rule, say

_SYMPTOMS = (
    "labels-without-meaning",
    "first-loss",
    "rate-too-high",
    "rate-too-low",
    "divergence",
    "oscillation",
    "exploding-gradients",
    "vanishing-gradients",
    "saturated-units",
    "dead-units",
    "constant-prediction",
    "stuck-at-chance",
    "one-batch-not-learnt",
    "signal-fades",
    "underfitting",
)
# Deviation times the square root of the fan-in: torch's default 0.58, Xavier about 1, Kaiming 1.41.
_LEAST_GAIN, _MOST_GAIN = 0.06, 6.0


@rule("weights-all-alike", explains=_SYMPTOMS, tries=("kaiming", "xavier"))
def weights_all_alike(record: Record) -> Said | None:
    """A layer begins with equal weights, so that its units stay alike for ever."""
    if record.first is None:
        return None
    alike = [line for line in weighted(record.first) if line["weight_std"] is not None and line["weight_std"] < 1e-7]
    if not alike:
        return None
    return say(
        "error" if record.fails else "warning",
        f"{len(alike)} of {len(record.layers)} layers begin with equal weights, '{alike[0]['layer']}' first",
        cause="weights were set to one constant: all units of the layer compute and learn the same",
        remedy=train_again(record, initialisation="kaiming"),
        layer=alike[0]["layer"],
        step=record.first["step"],
        layers=len(alike),
    )


@rule("initial-scale", explains=_SYMPTOMS, tries=("kaiming", "xavier"))
def initial_scale(record: Record) -> Said | None:
    """A layer begins with weights far too large or too small."""
    if record.first is None or record.first["step"] > 2:
        return None
    gains = [
        (line["layer"], (line["weight_std"] or 0.0) * math.sqrt(line["fan_in"])) for line in weighted(record.first)
    ]
    wrong = [(layer, gain) for layer, gain in gains if gain > _MOST_GAIN or 1e-6 < gain < _LEAST_GAIN]
    if not wrong:
        return None
    layer, gain = wrong[0]
    size = "large" if gain > _MOST_GAIN else "small"
    return say(
        record.worst(),
        f"the weights of '{layer}' begin {size}: deviation x root of fan-in is {gain:.3g}, 0.6 to 1.4 is usual",
        cause=f"an initialisation that is too {size}: signals and gradients {'grow' if size == 'large' else 'fade'} "
        "from layer to layer",
        remedy=train_again(record, initialisation="kaiming"),
        layer=layer,
        step=record.first["step"],
        chart=line_chart("layer", "deviation x root of fan-in", gains, 1.0, "usual", log=True),
        gain=gain,
        layers=len(wrong),
    )
