"""Inside the layers: units that are dead or saturated, signals and gradients that fade or explode, batch norm."""

from __future__ import annotations

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import Chart, line_chart
from cutaway.doctor.record import Line, Record, dead, exploding, trained, weighted
from cutaway.doctor.rule import Said, rule, say

_STUCK = ("labels-without-meaning", "stuck-at-chance", "one-batch-not-learnt", "constant-prediction", "underfitting")


@rule("not-finite", explains=("divergence", "oscillation", "exploding-gradients", "rate-too-high", *_STUCK))
def not_finite(record: Record) -> Said | None:
    """The loss became no number, with the place where the first one came from."""
    if record.broken is None:
        return None
    bad, step = record.broken["first_bad"], record.broken["step"]
    ratio = max((line["update_ratio"] or 0.0 for c in record.looked[-1:] for line in trained(c)), default=0.0)
    where = {"weights": "the weights of", "output": "the output of", "loss": "the loss, behind"}[bad["where"]]
    big = " (the last steps were large: the rate is too high)" if ratio > 0.05 else ""
    rate = record.recipe.get("learning_rate") or 0.01
    return say(
        "error",
        f"the loss stopped being a number at step {step}, first in {where} '{bad['layer'] or 'the last layer'}'",
        cause=f"a value grew beyond what a float can hold, or was divided by or taken the logarithm of 0{big}",
        remedy=train_again(record, learning_rate=rate / 10, clip=1.0),
        layer=bad["layer"] or None,
        step=step,
        chart=line_chart("step", "loss", record.losses[-50:]),
        update_ratio=ratio,
    )


@rule(
    "tiny-batch-norm",
    explains=("batch-too-small", "dead-units", "overfitting", "underfitting", "oscillation", "rate-too-high"),
)
def tiny_batch_norm(record: Record) -> Said | None:
    """Batch norm estimates its statistics from a few images."""
    if record.first is None or not record.first["modes"]["batch_norms"]:
        return None
    size = int(record.first["input"]["shape"][0])
    if size > 4 or not record.first["modes"]["in_training"]:
        return None
    norms = [line["layer"] for line in record.first["layers"] if line["kind"].startswith("BatchNorm")]
    return say(
        record.worst(),
        f"{record.first['modes']['batch_norms']} batch norms estimate mean and deviation from {size} images",
        cause="the statistics of so few images are noise, and differ from those that the evaluation uses",
        remedy=train_again(record, batch_size=32),
        layer=norms[0] if norms else None,
        batch_size=size,
    )


@rule(
    "dead-units",
    explains=("vanishing-gradients", *_STUCK),
    tries=("rate/10", "kaiming", "batch-norm"),
)
def dead_units(record: Record) -> Said | None:
    """Most channels of a layer are 0 for all images."""
    if record.last is None:
        return None
    for checkup in record.looked:
        begun, final = dead(checkup), dead(record.last)
        if begun and final and (record.fails or final[0]["dead_fraction"] > 0.9):
            return _say_dead(record, checkup, begun[0])
    return None


def _say_dead(record: Record, checkup: Line, line: Line) -> Said:
    rate = record.recipe.get("learning_rate") or 0.001
    early = checkup["step"] <= 1
    lines = [line for line in weighted(checkup) if line["dead_fraction"] is not None]
    return say(
        record.worst(),
        f"{line['dead_fraction']:.0%} of the channels behind '{line['layer']}' are 0 for every image at step "
        f"{checkup['step']}",
        cause="biases or weights begin so low that the ReLU never opens"
        if early
        else "steps that were too large pushed units below 0 for all images, where no gradient brings them back",
        remedy=train_again(record, initialisation="kaiming") if early else train_again(record, learning_rate=rate / 10),
        layer=line["layer"],
        step=checkup["step"],
        chart=_by_layer(lines, "dead_fraction", "share of dead channels"),
        dead_fraction=line["dead_fraction"],
    )


@rule("saturated-units", explains=("vanishing-gradients", "signal-fades", *_STUCK), tries=("xavier", "batch-norm"))
def saturated_units(record: Record) -> Said | None:
    """Most values of a sigmoid or tanh stand at an end of its range, where the slope is 0."""
    if record.last is None:
        return None
    for checkup in record.looked:
        lines = [line for line in weighted(checkup) if line["saturated_fraction"] is not None]
        hit = [line for line in lines if line["saturated_fraction"] - line["zero_fraction"] > 0.6]
        hit = [line for line in hit if line["activation"] != checkup["structure"]["last_layer"]]
        if hit:
            return say(
                record.worst(),
                f"{hit[0]['saturated_fraction']:.0%} of the values behind '{hit[0]['layer']}' stand at an end of "
                f"{hit[0]['activation']}",
                cause="the layer's outputs are so large that its activation is flat, and hardly any gradient passes",
                remedy=train_again(record, initialisation="xavier"),
                layer=hit[0]["layer"],
                step=checkup["step"],
                chart=_by_layer(lines, "saturated_fraction", "share at an end"),
                saturated_fraction=hit[0]["saturated_fraction"],
            )
    return None


@rule("exploding-gradients", explains=("oscillation", "divergence"), tries=("clip", "rate/10"))
def exploding_gradients(record: Record) -> Said | None:
    """Gradients far larger than the weights, or growing without end."""
    for checkup in record.looked:
        lines, large = list(trained(checkup)), exploding(checkup)
        if large:
            worst = max(large, key=lambda line: line["gradient_norm"] / line["weight_norm"])
            return say(
                record.worst(),
                f"the gradient of '{worst['layer']}' has norm {worst['gradient_norm']:.3g} at step {checkup['step']}, "
                f"its weight {worst['weight_norm']:.3g}",
                cause="signals grow from layer to layer (weights that begin too large, no normalisation), or the loss "
                "is not a mean",
                remedy=train_again(record, clip=1.0),
                layer=worst["layer"],
                step=checkup["step"],
                chart=_by_layer(lines, "gradient_norm", "gradient norm", log=True),
                gradient_norm=worst["gradient_norm"],
                weight_norm=worst["weight_norm"],
            )
    return None


@rule("vanishing-gradients", explains=("rate-too-low", *_STUCK), tries=("batch-norm", "kaiming"))
def vanishing_gradients(record: Record) -> Said | None:
    """The first layers get a gradient that is nothing beside the last ones'."""
    if not record.fails or record.first is None:
        return None
    for checkup in record.looked:
        lines = [line for line in trained(checkup) if line["gradient_norm"] is not None and line["weight_norm"]]
        if len(lines) < 3:
            continue
        relative = [(line["layer"], line["gradient_norm"] / line["weight_norm"]) for line in lines]
        strongest = max(value for _, value in relative)
        weak = [(layer, value) for layer, value in relative if value < 1e-4 * strongest]
        if weak and weak[0][0] == relative[0][0]:
            begins = next(layer for layer, value in reversed(relative) if value < 1e-4 * strongest)
            return say(
                record.worst(),
                f"the gradient fades on its way to the first layers: that of '{relative[0][0]}' is "
                f"{relative[0][1] / strongest:.0e} of the strongest, relative to the weights",
                cause="many layers whose activations or weights shrink the gradient, with no normalisation or skip "
                "between them",
                remedy=train_again(record, "--change batch-norm"),
                layer=begins,
                step=checkup["step"],
                chart=line_chart("layer", "gradient norm / weight norm", relative, log=True),
                ratio=relative[0][1] / strongest,
                layers=len(weak),
            )
    return None


@rule(
    "signal-fades",
    explains=("rate-too-low", "vanishing-gradients", "dead-units", *_STUCK),
    tries=("batch-norm", "kaiming", "xavier"),
)
def signal_fades(record: Record) -> Said | None:
    """What differs between images fades from layer to layer, until all images look alike."""
    if not record.fails or record.first is None or dead(record.first):
        return None
    lines = [line for line in weighted(record.first) if line["output_scale"] and line["output_spread"] is not None]
    shares = [(line["layer"], line["output_spread"] / line["output_scale"]) for line in lines]
    faded = [(layer, share) for layer, share in shares if share < 0.02]
    if len(shares) < 3 or not faded or shares[0][1] < 0.1:
        return None
    return say(
        record.worst(),
        f"from '{faded[0][0]}' on the outputs hardly differ between images ({faded[0][1]:.1%} of their size)",
        cause="a deep plain network whose initialisation shrinks the signal in each layer, until biases outweigh it",
        remedy=train_again(record, initialisation="kaiming"),
        layer=faded[0][0],
        step=record.first["step"],
        chart=line_chart("layer", "difference between images / size", shares, 0.02, "", log=True),
        share=faded[0][1],
        layers=len(faded),
    )


def _by_layer(lines: list[Line], key: str, label: str, log: bool = False) -> Chart:
    return line_chart("layer", label, [(line["layer"], line[key]) for line in lines], log=log)
