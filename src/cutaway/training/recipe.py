"""Recipes: everything that varies between two trainings, as one flat TOML file.

A recipe is merged from four places, later ones winning: the defaults below, the package's recipe for the data and
model at hand (`training/recipes/`), the user's file, and options of the command line.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from cutaway.data import Augmentation
from cutaway.errors import InputError, unknown

OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop", "nadam", "muon")
SCHEDULES = ("constant", "step", "cosine", "one-cycle", "triangular")
INITIALISATIONS = ("default", "xavier", "kaiming", "orthogonal")
PRECISIONS = ("auto", "fp32", "bf16")
STEMS = ("auto", "small", "half", "imagenet")
FLIPS = ("none", "random", "alternating")

_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "initialisation": INITIALISATIONS,
    "precision": PRECISIONS,
    "flip": FLIPS,
    "stem": STEMS,
}
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "learning_rate": (0, 1_000),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 10),
    "warmup": (0, 1),
    "final_rate": (0, 1),
    "step_every": (1, 100_000),
    "step_factor": (0, 1),
    "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99),
    "ema": (0, 0.999999),
    "clip": (0, 1e6),
    "patience": (0, 100_000),
    "seed": (0, 2**62),
    "log_every": (1, 1_000_000),
    "save_every": (0, 1e9),
    "shift": (0, 512),
    "cutout": (0, 512),
    "jitter": (0, 1),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        optimizer: one of `OPTIMIZERS`.
        learning_rate: the highest rate of the schedule.
        momentum: of SGD, RMSprop and Muon; the others keep their authors' betas.
        weight_decay: on tensors of two or more dimensions; biases and norms are never decayed.
        schedule: one of `SCHEDULES`; see `rate`.
        warmup: the share of the whole training during which the rate rises linearly.
        final_rate: what is left of the rate at the end of cosine, one-cycle and triangular, as a share of the highest.
        step_every, step_factor: the `step` schedule multiplies by the factor after every so many epochs.
        initialisation: one of `INITIALISATIONS`; weights that were loaded are kept.
        batch_size: images a step.
        label_smoothing: share of the target spread over all classes (Szegedy et al., 2016).
        dropout: probability where the network has dropout; -1 keeps the network's own.
        stem: a ResNet's first layers: "small", "half" or "imagenet"; "auto" goes by the image size.
        ema: decay a step of the averaged weights that are then validated and saved; 0 for none.
        clip: the largest norm of the whole gradient; 0 for none.
        patience: epochs without a better validation accuracy before stopping; 0 for never.
        epochs, seed: as they say.
        precision: "auto" measures; "fp32" or "bf16" insist.
        log_every: steps between two lines of metrics.jsonl.
        save_every: seconds between two saved states inside an epoch; an epoch's end always saves one.
        flip, shift, cutout, jitter: the augmentation, see `cutaway.data.Augmentation`.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "one-cycle"
    warmup: float = 0.2
    final_rate: float = 0.0
    step_every: int = 30
    step_factor: float = 0.1
    initialisation: str = "default"
    batch_size: int = 128
    label_smoothing: float = 0.0
    dropout: float = -1.0
    stem: str = "auto"
    ema: float = 0.0
    clip: float = 0.0
    patience: int = 0
    epochs: int = 10
    seed: int = 0
    precision: str = "auto"
    log_every: int = 10
    save_every: float = 60.0
    flip: str = "none"
    shift: int = 0
    cutout: int = 0
    jitter: float = 0.0

    @property
    def augmentation(self) -> Augmentation:
        """The part of the recipe that changes images."""
        return Augmentation(flip=self.flip, shift=self.shift, cutout=self.cutout, jitter=self.jitter)  # type: ignore[arg-type]  # flip was checked against FLIPS

    def rate(self, progress: float) -> float:
        """The learning rate after a share `progress` (0..1) of the whole training.

        `cosine` decays after the warm-up along half a cosine (Loshchilov & Hutter, 2017); `one-cycle` does the same
        from a warm-up that starts at a 25th (Smith & Topin, 2018); `triangular` falls in a straight line.
        """
        rise = min(1.0, progress / self.warmup) if self.warmup > 0 else 1.0
        if self.schedule == "one-cycle":
            rise = 0.04 + 0.96 * rise
        if rise < 1.0 or self.schedule == "constant":
            return self.learning_rate * rise
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** math.floor(progress * self.epochs / self.step_every + 1e-9)
        rest = (progress - self.warmup) / (1 - self.warmup) if self.warmup < 1 else 0.0
        left = 1 - rest if self.schedule == "triangular" else 0.5 * (1 + math.cos(math.pi * rest))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * left)

    def as_dict(self) -> dict[str, Any]:
        """All keys with their values."""
        return asdict(self)


_TYPES: dict[str, type] = {name: type(value) for name, value in asdict(Recipe()).items()}


def make_recipe(*layers: Mapping[str, Any], place: str = "the recipe") -> Recipe:
    """Merge `layers` over the defaults, later ones winning; a wrong key or range is an `InputError`."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update({key: _checked(key, value, place) for key, value in layer.items() if value is not None})
    return Recipe(**merged)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The checked keys of a TOML file; an error names the file, the line and the key."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no recipe file {path}")
    text = path.read_text(encoding="utf-8")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    return {key: _checked(key, value, f"{path} line {_line(text, key)}") for key, value in values.items()}


def packaged_recipe(data: str, model: str) -> dict[str, Any]:
    """The package's keys for a data set and a model: `any`, the model's family, the data set, then both together."""
    family = re.split(r"\d|[:@._/]", model.removeprefix("torchvision:").removeprefix("timm:"))[0] or model
    names = ("any", f"any-{family}", f"any-{model}", data, f"{data}-{family}", f"{data}-{model}")
    merged: dict[str, Any] = {}
    folder = resources.files("cutaway.training") / "recipes"
    for name in dict.fromkeys(names):
        file = folder / f"{name}.toml"
        if re.fullmatch(r"[\w.-]+", name) and file.is_file():
            merged.update(tomllib.loads(file.read_text(encoding="utf-8")))
    return merged


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*[\[\"']*{re.escape(key)}\b")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _checked(key: str, value: Any, place: str) -> Any:
    if key not in _TYPES:
        raise unknown("key", key, _TYPES, f"known to recipes ({place})")
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise unknown(key, str(value), _CHOICES[key], f"known ({place})")
        return value
    kind = _TYPES[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or _is_no(kind, value):
        raise InputError(f"{place}: {key} is {value!r}, expected {'a whole number' if kind is int else 'a number'}")
    low, high = (-1.0, 0.99) if key == "dropout" and value == -1 else _RANGES[key]
    if not low <= value <= high:
        raise InputError(f"{place}: {key} is {value}, expected {low:g} to {high:g}")
    return kind(value)


def _is_no(kind: type, value: float) -> bool:
    """Whether a number is not of that kind; infinity is of none."""
    return isinstance(value, float) and not (math.isfinite(value) and (kind is float or value.is_integer()))
