"""How large the steps are: rate, batch, oscillation, divergence."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import Chart, line_chart
from cutaway.doctor.record import Record, dead, exploding, trained
from cutaway.doctor.rule import Said, rule, say

_STUCK = ("labels-without-meaning", "stuck-at-chance", "one-batch-not-learnt", "constant-prediction", "underfitting")
_BY_LARGE_STEPS = ("oscillation", "dead-units", "saturated-units", "exploding-gradients", *_STUCK)


@rule("divergence", explains=_BY_LARGE_STEPS, tries=("rate/10", "clip"))
def divergence(record: Record) -> Said | None:
    """The loss ends far above where it began."""
    losses = record.cross_entropies
    if record.early or len(losses) < 5 or record.final_loss is None or record.broken:
        return None
    start = min(median(loss for _, loss in losses[:3]), losses[0][1])
    if record.final_loss < max(1.5 * start, start + 1.0, 1.3 * record.chance):
        return None
    return say(
        "error",
        f"the loss rose from {start:.3g} to {record.final_loss:.3g}",
        cause="the steps are so large that each overshoots: the rate is too high",
        remedy=train_again(record, learning_rate=_rate(record) / 10),
        step=next(step for step, loss in losses if loss > start + 0.5 * (record.final_loss - start)),
        chart=line_chart("step", "loss", losses, record.chance, "ln C"),
        first=start,
        last=record.final_loss,
        update_ratio=_updates(record)[0],
    )


@rule("rate-too-high", explains=("divergence", *_BY_LARGE_STEPS), tries=("rate/10", "rate/100", "clip"))
def rate_too_high(record: Record) -> Said | None:
    """Steps move the weights by a large part of themselves, and nothing is learnt."""
    ratio, layer, step = _updates(record)
    if ratio < 0.1 or record.early or record.learns or record.first is None:
        return None
    if dead(record.first) or exploding(record.first):  # before any step was made
        return None
    return say(
        "error",
        f"a step moved the weights of '{layer}' by {ratio:.0%} of themselves (0.1 % is usual)",
        cause="the learning rate is too high for this network: each step destroys what the last one learnt",
        remedy=train_again(record, learning_rate=_rate(record) / 10),
        layer=layer,
        step=step,
        chart=_update_chart(record),
        update_ratio=ratio,
        learning_rate=_rate(record),
    )


@rule("rate-too-low", explains=_STUCK, tries=("rate*10", "rate*100"))
def rate_too_low(record: Record) -> Said | None:
    """Steps hardly move the weights, and the loss hardly falls."""
    if record.early or record.learns or record.final_loss is None:
        return None
    later = [c for c in record.looked if c["step"] >= 5] or record.looked
    ratios = [line["update_ratio"] or 0.0 for c in later for line in trained(c)]
    if not ratios or (not 0 < max(ratios) < 3e-4 and not 0 < median(ratios) < 3e-5):
        return None
    return say(
        "error" if record.last_step >= 100 else "warning",
        f"a step moves the weights by {median(ratios):.1e} of themselves (about 1e-3 is usual), and the loss fell to "
        f"{record.final_loss:.3f} from {record.cross_entropies[0][1]:.3f}",
        cause="the learning rate is too low: at this pace the training would take a hundred times as long",
        remedy=train_again(record, learning_rate=_rate(record) * 10),
        chart=_update_chart(record),
        update_ratio=median(ratios),
        learning_rate=_rate(record),
    )


@rule("oscillation", tries=("rate/10",))
def oscillation(record: Record) -> Said | None:
    """The loss jumps up and down instead of falling."""
    losses = [loss for _, loss in record.cross_entropies]
    late = losses[len(losses) // 2 :]
    if len(late) < 5 or record.early:
        return None
    swing = median(abs(a - b) for a, b in pairwise(late))
    fallen = losses[0] - median(late)
    size = record.looked[0]["input"]["shape"][0] if record.looked else 32
    if swing < max(0.35 * record.chance, 0.5 * abs(fallen)) or size < 8:
        return None
    return say(
        "warning",
        f"the loss jumps by {swing:.2f} between two log lines, after falling by {fallen:.2f} in all",
        cause="steps that are too large: each overshoots and the next comes back",
        remedy=train_again(record, learning_rate=_rate(record) / 10),
        chart=line_chart("step", "loss", record.cross_entropies),
        swing=swing,
        fallen=fallen,
    )


@rule(
    "batch-too-small",
    explains=("oscillation", "dead-units", "rate-too-high", "divergence", *_STUCK),
    tries=("batch*4",),
)
def batch_too_small(record: Record) -> Said | None:
    """So few images a step that the gradient is mostly noise."""
    if record.first is None:
        return None
    size = int(record.first["input"]["shape"][0])
    if size > min(4, record.classes // 2 + 1):
        return None
    return say(
        "error" if record.fails and record.last_step >= 200 else "warning",
        f"a step sees {size} image{'s' if size > 1 else ''} of {record.classes} classes",
        cause="the gradient of so few images is mostly noise, and the hardware is hardly used",
        remedy=train_again(record, batch_size=32),
        chart=line_chart("step", "loss", record.losses),
        batch_size=size,
    )


@rule("batch-too-large", tries=("batch/4",))
def batch_too_large(record: Record) -> Said | None:
    """So many images a step that an epoch is a few steps."""
    if record.first is None or len(record.epochs) < 2:
        return None
    steps = record.epochs[0]["step"]
    size = int(record.first["input"]["shape"][0])
    if steps > 5 or size < 128 or len(record.epochs) * steps > 60:
        return None
    return say(
        "warning" if not record.learns or (record.final_loss or 0) > 0.6 * record.chance else "note",
        f"an epoch is {steps} step{'s' if steps > 1 else ''} of {size} images; {record.last_step} steps in all",
        cause="few large steps learn less from the same images than many small ones",
        remedy=train_again(record, batch_size=max(16, size // 8)),
        batch_size=size,
        steps=record.last_step,
    )


def _rate(record: Record) -> float:
    """The rate at the first check-up that has one."""
    told = record.recipe.get("learning_rate")
    return float(told or (record.first or {}).get("optimizer", {}).get("lr") or 0.01)


def _updates(record: Record) -> tuple[float, str, int]:
    """The largest median-over-layers update of a step: the ratio, the layer that moved most, the step."""
    found = []
    for checkup in record.looked:
        lines = [line for line in trained(checkup) if line["update_ratio"] is not None]
        if lines:
            most = max(lines, key=lambda line: line["update_ratio"])
            middle = median(line["update_ratio"] for line in lines)
            found.append((max(middle, most["update_ratio"] / 4), most["layer"], checkup["step"]))
    return max(found, default=(0.0, "", 0))


def _update_chart(record: Record) -> Chart:
    points = [(c["step"], median([line["update_ratio"] or 0.0 for line in trained(c)] or [0.0])) for c in record.looked]
    return line_chart("step", "update / weight (median of the layers)", points, 1e-3, "usual", log=True)
