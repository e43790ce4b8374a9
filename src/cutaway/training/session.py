"""Everything one training needs, built the same way for a new run and for one that is continued."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.data import Batch, Dataset, Split, augment, load_data, load_recorded, sample_order
from cutaway.errors import InputError
from cutaway.files import remove_leftovers
from cutaway.models import Model, Preprocessing, initialize, load_model, train_mode
from cutaway.models.trust import Permit, permit
from cutaway.models.weights import fit_weights
from cutaway.restoring import untouched
from cutaway.runs import Run, RunFolder
from cutaway.runs.logs import mend
from cutaway.runs.schema import ModelRecord
from cutaway.training.measure import prepared
from cutaway.training.optimizers import load_optimizer_tensors, make_optimizer, optimizer_tensors
from cutaway.training.precision import Plan, choose_device, choose_plan, fixed_plan, remembered_plan
from cutaway.training.recipe import Recipe, make_recipe, packaged_recipe
from cutaway.training.state import Position, State, load_state, save_state, torch_environment
from cutaway.training.watcher import Watcher
from cutaway.version import __version__

_PIXEL_SAMPLE = 10_000
_PROBE_IMAGES = 64


@dataclass
class Session:
    """A network, its data, its optimizer and how far they are."""

    folder: RunFolder
    data: Dataset
    model: Model
    recipe: Recipe
    plan: Plan
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    progress: Position

    @property
    def train(self) -> Split:
        """The split that is learnt from."""
        return self.data.splits["train"]

    @property
    def batch_size(self) -> int:
        """Images a step: the recipe's, or all there are."""
        return min(self.recipe.batch_size, len(self.train))

    @property
    def steps_an_epoch(self) -> int:
        """Whole batches; the rest of an epoch is left out, and is another rest in each epoch."""
        return len(self.train) // self.batch_size

    @property
    def share_done(self) -> float:
        """How much of the whole training is done, 0..1."""
        each = self.steps_an_epoch * self.batch_size
        return (self.progress.epoch + self.progress.samples / each) / self.recipe.epochs

    def batches(self) -> Iterator[Batch]:
        """The rest of the running epoch: a pure function of seed, epoch and position."""
        order = sample_order(len(self.train), self.recipe.seed, self.progress.epoch)
        order = order[self.progress.samples : self.steps_an_epoch * self.batch_size]
        return self.train.batches(order, self.batch_size)

    def input(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) to the network's input, on the device and in the plan's layout."""
        return prepared(self.model, images, self.plan)

    def training_input(self, batch: Batch) -> Tensor:
        """The batch, augmented on the device, as the network's input."""
        images = augment(
            batch.images.to(self.plan.device, non_blocking=True),
            self.recipe.augmentation,
            seed=self.recipe.seed,
            epoch=self.progress.epoch,
            ids=batch.ids.to(self.plan.device),
        )
        return self.input(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in float32, with the recipe's label smoothing."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def marks(self, epoch: int) -> dict[str, str]:
        """What stands in the files of an epoch, so that one cannot be taken for another."""
        return {"epoch": str(epoch), "run": self.folder.info().get("id", "")}

    def save(self) -> None:
        """Write the whole state, so that this moment can be continued from."""
        tensors = {f"network/{name}": value for name, value in self.model.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        tensors |= {
            f"optimizer/{name}": value for name, value in optimizer_tensors(self.optimizer, self.model.network).items()
        }
        save_state(self.folder, State(self.progress, tensors))

    def restore(self, watch: Watcher) -> None:
        """Take up the newest undamaged state and cut the logs back to it."""
        state, problems = load_state(self.folder)
        for problem in problems:
            watch.note(problem)
        fit_weights(self.model.network, state.part("network"), f"the state of {self.folder.path}", heads=(), first=None)
        self.average = {name: value.to(self.plan.device) for name, value in state.part("average").items()}
        load_optimizer_tensors(self.optimizer, self.model.network, state.part("optimizer"))
        self.progress = state.progress
        self._mend(watch)

    def _mend(self, watch: Watcher) -> None:
        """Cut the logs back to the state; one that was damaged meanwhile is mended, and the run's record says so."""
        progress, lost = self.progress, []
        progress.metrics_length, told = mend(self.folder.log(self.folder.metrics), progress.metrics_length)
        lost.append(told)
        progress.vitals_length, told = mend(self.folder.log(self.folder.vitals), progress.vitals_length)
        lost = [sentence for sentence in (*lost, told) if sentence]
        if lost:
            self.folder.update(notes=[*self.folder.info().get("notes", []), *lost])
            self.save()  # its lengths are those of the mended logs
        for sentence in lost:
            watch.note(sentence)


@dataclass(frozen=True)
class Wish:
    """A training that is ready to begin; nothing is written yet."""

    data: Dataset
    model: Model
    recipe: Recipe
    plan: Plan
    stem: str

    def begin(self, folder: RunFolder) -> Session:
        """Write the record and the first state into a folder that is locked and empty."""
        folder.begin(_info(self.data, self.model, self.recipe, self.plan))
        session = _session(folder, self.data, self.model, self.recipe, self.plan)
        session.save()
        return session


def new_wish(
    data: Dataset | str | Path,
    model: Model | str,
    *,
    recipe: Mapping[str, Any],
    device: str,
    data_options: Mapping[str, Any],
    model_options: Mapping[str, Any],
    watch: Watcher,
) -> Wish:
    """Load data and network, and choose how to compute."""
    dataset = data if isinstance(data, Dataset) else load_data(data, **data_options, progress=watch.work)
    for note in dataset.notes:
        watch.note(note)
    for bad in dataset.quarantine:
        watch.quarantined(bad.file, bad.reason)
    _check_trainable(dataset)
    spec = model if isinstance(model, str) else model.spec
    chosen = make_recipe(packaged_recipe(dataset.name, spec), recipe)
    network = _new_model(dataset, model, chosen, model_options)
    for sentence in (*network.notes, *network.warnings):
        watch.note(sentence)
    plan = _plan(dataset, network, chosen, choose_device(device))
    watch.note(f"computing on {plan.describe()} ({plan.reason})")
    return Wish(dataset, network, chosen, plan, f"{dataset.name}-{_short(spec)}")


def continued_session(
    run: Run, data: Dataset | None, model: Model | None, trust: bool | str, watch: Watcher
) -> Session:
    """Build the session that `run.json` describes and take up its newest state; the caller holds the run's lock."""
    info = run.info
    remove_leftovers(run.folder.path)
    if info.get("watched"):
        raise InputError(f"{run.folder.path} is the record of a loop that is not Cutaway's; continue it there")
    described = info["model"]
    named = Permit(described["spec"]) if model else None
    allowed = named or permit(described["spec"], described.get("code", {}), trust, str(run.folder.path))
    dataset = load_recorded(run, data, progress=watch.work)
    recipe = make_recipe(info["recipe"], place=str(run.folder.run_json))
    plan = Plan(**info["plan"])
    choose_device(plan.device)
    if described["preprocessing"] is None:
        raise InputError(f"{run.folder.run_json} does not say how its input is standardised, so it cannot go on")
    preprocessing = Preprocessing.from_dict(described["preprocessing"])
    network = model or load_model(
        allowed.spec,
        code=allowed.code,
        classes=described["classes"],
        shape=preprocessing.shape,
        preprocessing=preprocessing,
        **described["options"],
    )
    session = _session(run.folder, dataset, network, recipe, plan)
    session.restore(watch)
    _keep_code(run, described, network, watch)
    return session


def _keep_code(run: Run, described: ModelRecord, network: Model, watch: Watcher) -> None:
    """Say that a run goes on with other code than it was begun with, and write down which."""
    before = described.get("code", {})
    if not network.code or (network.code, network.spec) == (before, described["spec"]):
        return
    other = sorted(name for name in {**before, **network.code} if before.get(name) != network.code.get(name))
    if before and other:
        watch.note(f"{run.name} goes on with other code than it was begun with: {', '.join(other)}")
    run.folder.update(model={**described, "spec": network.spec, "code": network.code})


def _session(folder: RunFolder, data: Dataset, model: Model, recipe: Recipe, plan: Plan) -> Session:
    plan.place(model.network)
    optimizer = make_optimizer(model.network, recipe)
    average = {name: value.detach().clone() for name, value in model.network.state_dict().items()} if recipe.ema else {}
    return Session(folder, data, model, recipe, plan, optimizer, average, Position())


def _new_model(data: Dataset, model: Model | str, recipe: Recipe, options: Mapping[str, Any]) -> Model:
    if isinstance(model, Model):
        return model
    chosen = dict(options)
    if recipe.dropout >= 0:
        chosen["dropout"] = recipe.dropout
    if recipe.stem != "auto":
        chosen["stem"] = recipe.stem
    made = load_model(model, classes=data.classes, shape=data.shape, seed=recipe.seed, **chosen)
    if made.preprocessing is None:
        made.preprocessing = pixel_statistics(data.splits["train"])
    if recipe.initialisation != "default" and not made.pretrained:
        initialize(made.network, recipe.initialisation, seed=recipe.seed)
    return made


def _check_trainable(data: Dataset) -> None:
    missing = [name for name in ("train", "val") if name not in data.splits or not len(data.splits[name])]
    if missing:
        raise InputError(f"{data.source} has no images for {' and '.join(missing)}; it needs some in every class")


def pixel_statistics(split: Split) -> Preprocessing:
    """Preprocessing that standardises each colour, measured on up to 10,000 evenly spaced training images."""
    count = len(split)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _PIXEL_SAMPLE)).astype(np.int64))
    total, squares, pixels = np.zeros(split.images.shape[1]), np.zeros(split.images.shape[1]), 0
    for start in range(0, len(chosen), 500):
        part = split.images[chosen[start : start + 500]].astype(np.float32) / 255
        total += part.sum(axis=(0, 2, 3), dtype=np.float64)
        squares += np.square(part).sum(axis=(0, 2, 3), dtype=np.float64)
        pixels += part.shape[0] * part.shape[2] * part.shape[3]
    mean = total / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    deviation[deviation < 1e-3] = 1.0  # a constant colour carries nothing to scale
    shape = (int(split.images.shape[1]), int(split.images.shape[2]), int(split.images.shape[3]))
    return Preprocessing(shape, tuple(round(float(m), 6) for m in mean), tuple(round(float(s), 6) for s in deviation))


def _plan(data: Dataset, model: Model, recipe: Recipe, device: str) -> Plan:
    """Measure on the first batch, unless asked for a precision; the network is left as it was."""
    if recipe.precision != "auto":
        return fixed_plan(device, recipe.precision)
    size = min(recipe.batch_size, _PROBE_IMAGES, len(data.splits["train"]))
    batch = next(iter(data.splits["train"].batches(np.arange(size), size)))
    network, labels = model.network, batch.labels.to(device)
    images = prepared(model, batch.images, Plan(device))

    def set_layout(plan: Plan) -> None:
        nonlocal images
        plan.place(network)
        images = images.contiguous(memory_format=plan.memory_format)

    def measure() -> Plan:
        with untouched(network):
            train_mode(network)
            return choose_plan(device, lambda: F.cross_entropy(network(images).float(), labels), network, set_layout)

    return remembered_plan(f"{device} {model.spec} {model.options} {tuple(images.shape)}", measure)


def _short(spec: str) -> str:
    return Path(spec).stem if ".py:" in spec else spec.rpartition(":")[2].replace("/", "-")


def _info(data: Dataset, model: Model, recipe: Recipe, plan: Plan) -> dict[str, Any]:
    return {
        "status": "training",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data.describe(),
        "model": model.describe(),
        "recipe": recipe.as_dict(),
        "plan": plan.as_dict(),
        "environment": {
            "cutaway": __version__,
            **torch_environment(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
        },
    }
