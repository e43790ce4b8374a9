"""How it came out: nothing learnt, too little, by heart, or stopped too early."""

from __future__ import annotations

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import SURE_STEPS, Record
from cutaway.doctor.rule import Said, rule, say


@rule(
    "over-regularised",
    explains=("underfitting", "stuck-at-chance", "constant-prediction", "vanishing-gradients", "rate-too-high"),
)
def over_regularised(record: Record) -> Said | None:
    """Dropout or weight decay leave too little to learn with."""
    if record.first is None or record.last is None:
        return None
    dropout = max(record.first["modes"]["dropouts"], default=0.0)
    decay = (record.first["optimizer"] or {}).get("weight_decay", 0.0)
    rate = max(((c["optimizer"] or {}).get("lr") or 0.0) for c in record.looked)
    shrunk = _shrunk(record)
    poor = record.fails or (record.final_loss or 0.0) > 0.55 * record.chance
    heavy = decay >= 0.05 and (shrunk < 0.7 or record.fails) and _plain(record)
    if not poor or not (dropout >= 0.75 or heavy):
        return None
    what = f"dropout of {dropout:g}" if dropout >= 0.75 else f"weight decay of {decay:g} at rate {rate:g}"
    remedy = train_again(record, dropout=0.3) if dropout >= 0.75 else train_again(record, weight_decay=5e-4)
    return say(
        record.worst(),
        f"a {what} holds the training back: the loss is {record.final_loss or 0:.2f}, the weights are {shrunk:.0%} of "
        "what they were",
        cause="more regularisation than the network can learn against",
        remedy=remedy,
        dropout=dropout,
        weight_decay=decay,
        weights_left=shrunk,
    )


def _plain(record: Record) -> bool:
    """Whether the optimizer adds the decay to the gradient (AdamW's, multiplied by its small rate, is milder)."""
    return bool((record.first or {}).get("optimizer", {}).get("kind") != "AdamW")


def _shrunk(record: Record) -> float:
    """The smallest ratio of a layer's last to its first norm."""
    if record.first is None or record.last is None:
        return 1.0
    before = {
        line["layer"]: line["weight_norm"] for line in record.first["layers"] if line["kind"][:4] in ("Conv", "Line")
    }
    after = {line["layer"]: line["weight_norm"] for line in record.last["layers"]}
    ratios = [after[name] / norm for name, norm in before.items() if norm and after.get(name) is not None]
    return float(min(ratios, default=1.0))


@rule(
    "one-batch-not-learnt",
    explains=("stuck-at-chance", "constant-prediction", "underfitting", "duplicates"),
    tries=("rate/10", "kaiming", "batch-norm"),
)
def one_batch_not_learnt(record: Record) -> Said | None:
    """No more images than one batch holds are shown over and over, and are not learnt."""
    facts = record.info["data"].get("facts") or {}
    distinct = facts.get("distinct", {}).get("train") or record.seen.get("distinct")
    if record.first is None or record.early or record.final_loss is None or not distinct:
        return None
    if distinct > record.first["input"]["shape"][0] or record.final_loss < 0.5 * record.chance:
        return None
    return say(
        "error",
        f"{distinct} images are shown {record.last_step} times over, and their loss is still {record.final_loss:.2f}",
        cause="whatever can learn at all learns one batch by heart: look at the last layer, the loss, the rate and how "
        "the weights begin, not at the data",
        remedy=train_again(record, learning_rate=(record.recipe.get("learning_rate") or 0.01) / 10),
        step=record.last_step,
        chart=line_chart("step", "loss", record.cross_entropies, record.chance, "ln C"),
        images=distinct,
        loss=record.final_loss,
        chance=record.chance,
    )


@rule(
    "stuck-at-chance", explains=("constant-prediction",), tries=("rate/10", "kaiming", "batch-norm", "adagrad-xavier")
)
def stuck_at_chance(record: Record) -> Said | None:
    """The loss stands at what a constant answer gives."""
    if not record.stuck or record.last_step < SURE_STEPS or record.last is None or record.final_loss is None:
        return None
    lines = [line for line in record.last["layers"] if line["trains"] and line["gradient_norm"] is not None]
    total = sum(line["gradient_norm"] ** 2 for line in lines) ** 0.5
    still = total < 1e-6
    return say(
        "error",
        f"after {record.last_step} steps the loss is {record.final_loss:.4f}; ln {record.classes} = "
        f"{record.chance:.4f} is what knowing nothing gives",
        cause="no gradient arrives: units are dead or layers frozen"
        if still
        else "gradients arrive and lead nowhere: the rate, the initialisation, or labels that do not fit the images",
        remedy=train_again(record, learning_rate=(record.recipe.get("learning_rate") or 0.01) / 10),
        step=record.last_step,
        chart=line_chart("step", "loss", record.cross_entropies, record.chance, "ln C"),
        loss=record.final_loss,
        chance=record.chance,
        gradient_norm=total,
    )


@rule("constant-prediction", tries=("rate/10", "batch-norm"))
def constant_prediction(record: Record) -> Said | None:
    """The same answer for every image."""
    if record.last_step < SURE_STEPS or record.last is None or record.classes < 2 or record.learns:
        return None
    logits, size = record.last["logits"], record.last["input"]["shape"][0]
    alike = logits["spread"] is not None and logits["spread"] < 0.02 * max(1.0, logits["std"])
    if size < 8 or not ((logits["predicted_classes"] == 1 and logits["largest_share"] == 1.0) or alike):
        return None
    return say(
        "error",
        f"the outputs differ by {logits['spread']:.2g} between images, and all {size} of the last batch got one class"
        if logits["predicted_classes"] == 1
        else f"the outputs differ by only {logits['spread']:.2g} between images",
        cause="the signal of the image is lost on its way, and only the last bias is learnt",
        remedy=train_again(record, learning_rate=(record.recipe.get("learning_rate") or 0.01) / 10),
        step=record.last["step"],
        spread=logits["spread"],
        predicted_classes=logits["predicted_classes"],
    )


@rule("overfitting")
def overfitting(record: Record) -> Said | None:
    """Training figures rise and validation figures do not follow."""
    ended = [line for line in record.epochs if line.get("val_accuracy") is not None]
    if len(ended) < 3:
        return None
    last = ended[-1]
    gap = last["train_accuracy"] - last["val_accuracy"]
    losses = [line["val_loss"] for line in ended if line.get("val_loss") is not None]
    risen = losses[-1] / min(losses) - 1 if losses and min(losses) > 0 else 0.0
    if gap < 0.12 or not (gap > 0.3 or risen > 0.15):
        return None
    best = max(ended, key=lambda line: line["val_accuracy"])
    return say(
        "warning",
        f"accuracy {last['train_accuracy']:.1%} on training images and {last['val_accuracy']:.1%} on validation images"
        + (f"; the validation loss is {risen:.0%} above its lowest" if risen > 0.02 else ""),
        cause="the network learns the training images by heart: too few images, or too long",
        remedy=train_again(record, flip="random", shift=2, patience=3)
        if not record.watched
        else "in your loop: augment the training images, add dropout or weight decay, and keep the best epoch",
        step=best["step"],
        chart=line_chart("epoch", "validation loss", [(line["epoch"], line.get("val_loss")) for line in ended]),
        gap=gap,
        risen=risen,
        best_epoch=best["epoch"],
    )


@rule("underfitting", explains=("stopped-early",))
def underfitting(record: Record) -> Said | None:
    """Something is learnt, and then no more, far from what the images allow."""
    if len(record.epochs) < 4 or not record.learns or record.final_loss is None:
        return None
    losses = [line["train_loss"] for line in record.epochs]
    recent = losses[-max(3, len(losses) // 3) :]
    flat = (recent[0] - recent[-1]) < 0.01 * record.chance
    accuracy = record.epochs[-1]["train_accuracy"]
    if not flat or losses[-1] < 0.4 * record.chance or accuracy > 0.8:
        return None
    return say(
        "warning",
        f"the training loss stands at {losses[-1]:.2f} (accuracy {accuracy:.1%}) for {len(recent)} epochs",
        cause="the network is too small, or held back: too few channels, too much dropout, a rate that fell too early",
        remedy=train_again(record, learning_rate=(record.recipe.get("learning_rate") or 0.01) * 3),
        chart=line_chart("epoch", "training loss", [(line["epoch"], line["train_loss"]) for line in record.epochs]),
        loss=losses[-1],
        accuracy=accuracy,
    )


@rule("stopped-early")
def stopped_early(record: Record) -> Said | None:
    """The training ended while it was still getting better quickly."""
    ended = [line for line in record.epochs if line.get("val_loss") is not None]
    if len(ended) < 3 or record.info.get("status") != "finished" or not record.learns:
        return None
    before, last = ended[-2], ended[-1]
    gain = before["val_loss"] - last["val_loss"]
    if gain < 0.04 * before["val_loss"] or last["val_loss"] < 0.25 * record.chance:
        return None
    return say(
        "note",
        f"the last epoch still lowered the validation loss from {before['val_loss']:.3f} to {last['val_loss']:.3f}",
        cause="the training was too short",
        remedy=train_again(record, epochs=3 * len(record.epochs)),
        chart=line_chart("epoch", "validation loss", [(line["epoch"], line["val_loss"]) for line in ended]),
        gain=gain,
    )
