"""What a training loop gets wrong: gradients, modes, order, what is trained at all."""

from __future__ import annotations

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import Line, Record, weighted
from cutaway.doctor.rule import Said, rule, say

_SYMPTOMS = (
    "labels-without-meaning",
    "saturated-units",
    "rate-too-high",
    "oscillation",
    "divergence",
    "exploding-gradients",
    "vanishing-gradients",
    "dead-units",
    "constant-prediction",
    "stuck-at-chance",
    "one-batch-not-learnt",
    "underfitting",
    "batch-too-small",
)


@rule("stale-gradients", explains=_SYMPTOMS)
def stale_gradients(record: Record) -> Said | None:
    """The optimizer finds more than the gradient of the last backward pass: zero_grad is missing."""
    found = [(c["step"], c["fresh_gradient"]) for c in record.looked if c.get("fresh_gradient") is not None]
    stale = [(step, cosine) for step, cosine in found if step > 1 and cosine < 0.99]
    if len(stale) < max(2, len(found) // 2):
        return None
    step, cosine = stale[0]
    return say(
        "error",
        f"the gradients at step {step} are not those of the last backward pass (cosine {cosine:.2f}, not 1)",
        cause="gradients of earlier steps are still in .grad: optimizer.zero_grad() is missing or misplaced",
        remedy="in your loop: optimizer.zero_grad() before loss.backward() in every step",
        step=step,
        chart=line_chart("step", "cosine of found and fresh gradient", found, 1.0, "fresh"),
        cosine=cosine,
    )


@rule("trained-in-eval-mode", explains=("overfitting", "rate-too-high", "oscillation"))
def trained_in_eval_mode(record: Record) -> Said | None:
    """Steps are made while the network is in evaluation mode: no dropout, no batch statistics."""
    wrong = [c for c in record.looked if not c["modes"]["training"] and _moody(c)]
    if not wrong:
        return None
    norms, dropouts = wrong[0]["modes"]["batch_norms"], len(wrong[0]["modes"]["dropouts"])
    return say(
        "error",
        f"step {wrong[0]['step']} was trained in evaluation mode ({len(wrong)} of {len(record.looked)} check-ups)",
        cause=f"network.train() is missing after network.eval(): {norms} batch norms keep old statistics and "
        f"{dropouts} dropouts do nothing",
        remedy="in your loop: network.train() at the start of every epoch",
        step=wrong[0]["step"],
        checkups=len(wrong),
        batch_norms=norms,
        dropouts=dropouts,
    )


def _moody(checkup: Line) -> bool:
    return bool(checkup["modes"]["batch_norms"] or checkup["modes"]["dropouts"])


@rule("evaluated-in-training-mode", explains=("overfitting", "underfitting"))
def evaluated_in_training_mode(record: Record) -> Said | None:
    """The evaluation is made in training mode: dropout acts, and batch norm learns from what is measured."""
    for end in record.ends:
        facts = end.get("evaluation")
        if facts and facts["training"] and record.first and _moody(record.first):
            passes = end.get("passes", {})
            return say(
                "error",
                f"the evaluation of epoch {end['epoch']} was made in training mode",
                cause="network.eval() is missing: dropout throws answers away, and batch norm uses (and learns) the "
                "statistics of the images that are measured",
                remedy="in your loop: network.eval() before the evaluation, network.train() after it",
                step=end["step"],
                passes=passes.get("evaluated_in_training"),
            )
    return None


@rule("not-shuffled", explains=(*_SYMPTOMS, "overfitting", "evaluation-differs"))
def not_shuffled(record: Record) -> Said | None:
    """The images come class by class, or in the same order in every epoch."""
    seen = record.seen
    shares = [count / sum(record.train_counts) for count in record.train_counts] if sum(record.train_counts) else []
    if not seen or seen.get("equal_neighbours") is None or not shares:
        return None
    expected, found = sum(share**2 for share in shares), seen["equal_neighbours"]
    # While only the first class has come by, the counts themselves are what is wrong.
    expected = min(expected, 1.5 / record.classes) if found > 0.95 else expected
    if found > expected + 0.25 and seen["images"] >= 100:
        return say(
            "error",
            f"{found:.0%} of all neighbours have the same label, where a shuffled order has {expected:.0%}",
            cause="the images come class by class, so that each step forgets the classes before it",
            remedy="in your loop: DataLoader(..., shuffle=True)",
            equal_neighbours=found,
            expected=expected,
        )
    if seen["same_order"]:
        return say(
            "note",
            "every epoch begins with the same labels in the same order",
            cause="the loader does not shuffle, or its seed is set anew in each epoch",
            remedy="in your loop: DataLoader(..., shuffle=True), and seed once before the first epoch",
            equal_neighbours=found,
        )
    return None


@rule("not-updated", explains=(*_SYMPTOMS, "rate-too-low", "frozen-layers", "stale-gradients"))
def not_updated(record: Record) -> Said | None:
    """No weight moves at all."""
    later = [c for c in record.looked if c["step"] > 1] or record.looked[1:]
    if not later or any((line["update_ratio"] or 0) > 1e-9 for c in later for line in c["layers"]):
        return None
    held = later[-1]["optimizer"] or {}
    missing, trains = held.get("missing", []), [line for line in later[-1]["layers"] if line["trains"]]
    if not trains:
        cause, line = "every layer is frozen (requires_grad is False)", "network.requires_grad_(True)"
    elif missing:
        cause, line = "the optimizer holds other parameters than the network's", "make the optimizer after the network"
    elif later[-1].get("optimizer_steps") == 0:
        cause, line = "optimizer.step() is never called", "optimizer.step() after loss.backward()"
    elif not held.get("lr"):
        cause, line = "the learning rate is 0", "a learning rate above 0"
    else:
        cause, line = "no gradient reaches the weights", "look for .detach(), torch.no_grad() or a dead last layer"
    remedy = f"in your loop: {line}" if record.watched else train_again(record, learning_rate=0.001)
    return say(
        "error",
        "no weight has moved since the first step",
        cause=cause,
        remedy=remedy,
        step=1,
        lr=held.get("lr"),
        missing=len(missing),
        optimizer_steps=later[-1].get("optimizer_steps"),
    )


@rule(
    "frozen-layers",
    explains=("stale-gradients", "underfitting", "stuck-at-chance", "constant-prediction", "vanishing-gradients"),
)
def frozen_layers(record: Record) -> Said | None:
    """Some layers do not train, and nobody asked for it."""
    if record.last is None or record.info["model"].get("options", {}).get("freeze"):
        return None
    lines = weighted(record.last)
    missing = set((record.last["optimizer"] or {}).get("missing", []))
    still = [line["layer"] for line in lines if not line["trains"] or f"{line['layer']}.weight" in missing]
    if not still or len(still) == len(lines):
        return None
    how = "not in the optimizer" if any(f"{name}.weight" in missing for name in still) else "frozen"
    return say(
        record.worst(),
        f"{len(still)} of {len(lines)} layers are {how}, '{still[0]}' first",
        cause=f"their weights stay as they began; if they are not pretrained, they are random ({how})",
        remedy="in your loop: network.requires_grad_(True), and optimizer(network.parameters())",
        layer=still[0],
        frozen=len(still),
        layers=len(lines),
    )


@rule("wrong-loss", explains=(*_SYMPTOMS, "rate-too-low", "first-loss"))
def wrong_loss(record: Record) -> Said | None:
    """The loss is not the cross-entropy of the outputs and labels."""
    checkup = next((c for c in record.looked if c["logits"].get("target") is not None and c["loss"] is not None), None)
    if record.loss_is_cross_entropy or checkup is None:
        return None
    loss, answers = checkup["loss"], checkup["logits"]
    kind, cause, line = _which_loss(loss, answers, checkup["input"]["shape"][0])
    return say(
        "error" if kind == "nll" or record.fails else "warning",
        f"the loss at step {checkup['step']} is {loss:.3g}, the cross-entropy of the outputs is "
        f"{answers['cross_entropy']:.3g}",
        cause=cause,
        remedy=f"in your loop: {line}",
        step=checkup["step"],
        chart=line_chart("step", "loss", record.losses),
        loss=loss,
        cross_entropy=answers["cross_entropy"],
    )


def _which_loss(loss: float, answers: Line, size: int) -> tuple[str, str, str]:
    """Which loss it is, by its value."""
    plain = "loss = F.cross_entropy(network(images), labels)"

    def near(value: float) -> bool:
        return abs(loss - value) < 0.02 * abs(value) + 1e-3

    if near(-answers["target"]):
        return "nll", "NLLLoss was given raw outputs; it wants log-probabilities, and falls without end", plain
    if near(answers["squared_error"]):
        return "mse", "a squared error between outputs and labels: its gradient fades where answers are wrong", plain
    if near(answers["cross_entropy"] * size):
        return "sum", f"the loss is summed over the batch of {size}, so each step is {size} times as large", plain
    return "other", "another loss, or labels that are not those of the images that went in", plain
