"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cutaway.data import Batch
from cutaway.data.randomness import key
from cutaway.errors import InputError
from cutaway.lenses.activations import activation_statistics
from cutaway.models import train_mode
from cutaway.runs import append_lines
from cutaway.training.checkup import Checkup, due, first_bad, input_facts, logit_facts
from cutaway.training.measure import Predictions, predict_split
from cutaway.training.optimizers import set_rate
from cutaway.training.session import Session
from cutaway.training.snapshots import keep_affordable, save_snapshot
from cutaway.training.state import write_weights
from cutaway.training.stopping import StopRequest
from cutaway.training.watcher import Watcher

_VITAL_IMAGES = 256
# Reading and writing all weights costs as much as a small step; the decay is raised to the same power.
_AVERAGE_EVERY = 4


class Diverged(InputError):  # noqa: N818  # named like the field does
    """The loss is no longer a finite number."""


class Interrupted(Exception):  # noqa: N818  # no error: the user asked for it
    """The user asked to stop; the state is saved.

    Attributes:
        number: of the signal; 0 where a watcher had enough.
    """

    number = 0


def fit(session: Session, watch: Watcher, stop: StopRequest) -> None:
    """Train until the recipe's epochs are done, patience ends, or `stop` is asked for.

    Raises:
        Interrupted: after saving the state, when `stop` was asked for.
        Diverged: when the loss is not finite; the last state stays as it was.
    """
    recipe, progress = session.recipe, session.progress
    total = recipe.epochs * session.steps_an_epoch
    watch.begin(progress.step, session.steps_an_epoch, total, session.batch_size)
    while progress.epoch < recipe.epochs and not _out_of_patience(session):
        checkup = _train_epoch(session, watch, stop)
        _close_epoch(session, checkup, watch)
        if (stop.asked or watch.enough()) and progress.epoch < recipe.epochs:
            raise Interrupted(session.folder.path)


def _out_of_patience(session: Session) -> bool:
    waited = session.progress.epoch - session.progress.best_epoch
    return 0 < session.recipe.patience <= waited


def _train_epoch(session: Session, watch: Watcher, stop: StopRequest) -> Checkup:
    """The rest of the running epoch, step by step; returns the check-up of its last step."""
    progress, recipe = session.progress, session.recipe
    train_mode(session.model.network)
    clock = saved = logged = time.perf_counter()
    logged_samples = progress.samples
    checkup: Checkup | None = None
    for batch in session.batches():
        last = progress.samples + len(batch.ids) >= session.steps_an_epoch * session.batch_size
        loss, checkup = _step(session, batch, examine=last or due(progress.step + 1))
        now = time.perf_counter()
        progress.seconds, clock = progress.seconds + now - clock, now
        watch.step(progress.loss_sum / progress.samples, progress.correct / progress.samples)
        if progress.step % recipe.log_every == 0:
            _log_step(session, loss, (progress.samples - logged_samples) / (now - logged))
            logged, logged_samples = now, progress.samples
        if checkup and not last:
            _note_checkup(session, checkup, watch)
        if (stop.asked or watch.enough()) and not last:
            session.save()
            raise Interrupted(session.folder.path)
        if not last and now - saved > recipe.save_every > 0:
            session.save()
            saved = time.perf_counter()
    assert checkup is not None  # an epoch has at least one step
    return checkup


def _step(session: Session, batch: Batch, examine: bool) -> tuple[float, Checkup | None]:
    """One optimizer step on one batch: the loss, and the check-up if it is wanted."""
    network, progress, recipe = session.model.network, session.progress, session.recipe
    labels = batch.labels.to(session.plan.device, non_blocking=True)
    images = session.training_input(batch)
    # Dropout draws from here, so it depends on the position alone and a resumed run draws the same.
    torch.manual_seed(key(recipe.seed, progress.step) & 0x7FFF_FFFF_FFFF_FFFF)
    with session.plan.computing():
        logits = network(images)
        loss = session.loss(logits, labels)
    value = loss.item()
    if not math.isfinite(value):
        raise Diverged(_divergence(session, images, value))
    session.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
    checkup = _examined(session, images, labels, logits, value) if examine else None
    set_rate(session.optimizer, recipe.rate(session.share_done))
    session.optimizer.step()
    progress.step += 1
    if session.average and progress.step % _AVERAGE_EVERY == 0:
        _update_average(session)
    progress.samples += len(batch.ids)
    progress.loss_sum += value * len(batch.ids)
    progress.correct += int((logits.argmax(1) == labels).sum())
    return value, checkup


def _examined(session: Session, images: Tensor, labels: Tensor, logits: Tensor, loss: float) -> Checkup:
    with session.plan.computing():
        return Checkup(session.model.network, images, labels, logits, loss)


def _note_checkup(session: Session, checkup: Checkup, watch: Watcher) -> None:
    progress = session.progress
    line = checkup.line(progress.epoch + 1, progress.step, session.optimizer)
    progress.vitals_length = append_lines(session.folder.vitals, [line])
    watch.checkup(session.folder)


@torch.no_grad()
def _update_average(session: Session) -> None:
    """Move the averaged weights towards the present ones; young averages move faster, so that they forget the start."""
    step = session.progress.step
    decay = min(session.recipe.ema, (1 + step) / (10 + step)) ** _AVERAGE_EVERY
    present = session.model.network.state_dict()
    floating = [name for name, value in present.items() if value.is_floating_point()]
    move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    move([session.average[n] for n in floating], [present[n] for n in floating], None)
    for name in present.keys() - set(floating):
        session.average[name].copy_(present[name])


def _log_step(session: Session, loss: float, rate: float) -> None:
    progress = session.progress
    line = {
        "kind": "step",
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "samples": progress.epoch * session.steps_an_epoch * session.batch_size + progress.samples,
        "loss": round(loss, 6),
        "accuracy": round(progress.correct / progress.samples, 6),
        "lr": session.optimizer.param_groups[0]["lr"],
        "images_per_second": round(rate, 1),
    }
    progress.metrics_length = append_lines(session.folder.metrics, [line])


def _close_epoch(session: Session, checkup: Checkup, watch: Watcher) -> None:
    """Validate, write weights, vitals, snapshot and the epoch's line, and save the state."""
    start = time.perf_counter()
    progress, network = session.progress, session.model.network
    present = {name: value.clone() for name, value in network.state_dict().items()} if session.average else {}
    if session.average:
        network.load_state_dict(session.average)
    epoch = progress.epoch + 1
    validation = predict_split(session.model, session.data.splits["val"], session.plan)
    probe = _probe_batches(session)
    activations = activation_statistics(network, probe)
    write_weights(session.folder.weights(epoch), network.state_dict(), session.marks(epoch))
    save_snapshot(session, epoch)
    if present:
        network.load_state_dict(present)
    facts = _evaluation_facts(validation, probe)
    lines = [
        *checkup.vitals.lines(epoch, activations),
        checkup.line(epoch, progress.step, session.optimizer, evaluation=facts),
    ]
    progress.vitals_length = append_lines(session.folder.vitals, lines)
    progress.seconds += time.perf_counter() - start
    line = _epoch_line(session, epoch, validation)
    progress.metrics_length = append_lines(session.folder.metrics, [line])
    _note_best(session, epoch, line)
    progress.epoch, progress.samples, progress.loss_sum, progress.correct = epoch, 0, 0.0, 0
    keep_affordable(session, epoch)
    session.save()
    watch.epoch(line)
    watch.checkup(session.folder)


def _evaluation_facts(validation: Predictions, probe: Sequence[Tensor]) -> dict[str, Any]:
    """What the validation split looks like to the network, and how it answers."""
    answers = logit_facts(validation.logits, validation.labels)
    counts = torch.bincount(validation.labels).tolist()
    return {"training": False, "input": input_facts(probe[0]), "logits": answers, "counts": counts}


def _probe_batches(session: Session) -> Sequence[Tensor]:
    """The first validation images, as one batch for the activation statistics."""
    split = session.data.splits["val"]
    images = torch.from_numpy(split.images[np.arange(min(_VITAL_IMAGES, len(split)))])
    return [session.input(images)]


def _epoch_line(session: Session, epoch: int, validation: Predictions) -> dict[str, Any]:
    progress = session.progress
    return {
        "kind": "epoch",
        "epoch": epoch,
        "step": progress.step,
        "samples": epoch * session.steps_an_epoch * session.batch_size,
        "seconds": round(progress.seconds, 3),
        "train_loss": round(progress.loss_sum / progress.samples, 6),
        "train_accuracy": round(progress.correct / progress.samples, 6),
        "val_loss": round(validation.loss, 6) if math.isfinite(validation.loss) else None,
        "val_accuracy": round(validation.accuracy, 6),
        "lr": session.optimizer.param_groups[0]["lr"],
    }


def _note_best(session: Session, epoch: int, line: dict[str, Any]) -> None:
    progress = session.progress
    accuracy, loss = line["val_accuracy"], line["val_loss"]
    if loss is not None and (accuracy, -loss) > (progress.best_accuracy, -progress.best_loss):
        progress.best_epoch, progress.best_accuracy, progress.best_loss = epoch, accuracy, loss


def _divergence(session: Session, images: Tensor, loss: float) -> str:
    """Where, in which layer, and what is still good."""
    progress, folder = session.progress, session.folder
    saved = [path for path in (folder.state, folder.previous_state) if path.exists()]
    epochs = f"; the last good weights are {folder.weights(progress.epoch)}" if progress.epoch else ""
    return (
        f"the loss became {loss} at step {progress.step + 1} (epoch {progress.epoch + 1}), "
        f"{_first_bad(session, images)}"
        f"{epochs}; the last good state is {saved[0] if saved else 'none'}; "
        f"try a rate below --lr {session.recipe.learning_rate:g}, or --set clip=1"
    )


def _first_bad(session: Session, images: Tensor) -> str:
    """The first layer whose weight or output is not finite; vitals.jsonl gets it too."""
    progress, network = session.progress, session.model.network
    with session.plan.computing():
        bad = first_bad(network, images)
    place = {"kind": "checkup", "epoch": progress.epoch + 1, "step": progress.step + 1, "loss": None, "first_bad": bad}
    progress.vitals_length = append_lines(session.folder.vitals, [{**place, "input": input_facts(images)}])
    if bad["where"] == "weights":
        return f"the weights of layer '{bad['layer']}' are not finite"
    return f"first in the output of layer '{bad['layer']}'" if bad["layer"] else "in the loss itself"
