"""What the looking verbs look at: a model, and an image by file name or by its place in the run's data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from cutaway import __version__
from cutaway.data import Undecodable, decode, load_data
from cutaway.errors import InputError, unknown
from cutaway.files import write_bytes, write_json
from cutaway.lenses.weights import conv_names
from cutaway.models import Model, load_model
from cutaway.pictures import Picture
from cutaway.runs import is_run, resolve

_PLACE = re.compile(r"(train|val|test):(\d+)")


@dataclass(frozen=True)
class Seen:
    """One image: its name, a word for file names, and the network's input float32 (1, C, H, W)."""

    name: str
    stem: str
    input: Tensor


@dataclass(frozen=True)
class Subject:
    """A model that is looked at."""

    model: Model
    spec: str

    @property
    def name(self) -> str:
        """A word for file names."""
        return re.sub(r"[^\w.-]+", "-", Path(self.spec).name)

    @property
    def convolutions(self) -> list[str]:
        """The layers that are drawn where none is named."""
        names = conv_names(self.model.network)
        if not names:
            raise InputError(f"{self.spec} has no convolution; name a layer with --layer, `cutaway summary` lists them")
        return names

    def image(self, name: str) -> Seen:
        """Read an image file, or `test:412` of the run's data, as the network's input."""
        preprocessing = self.model.preprocessing
        if preprocessing is None:
            raise InputError(f"{self.spec} does not say how its input is standardised; give a run, or --weights")
        place = _PLACE.fullmatch(name)
        if place and not Path(name).exists():
            pixels, stem = self._from_data(place[1], int(place[2])), f"{place[1]}-{place[2]}"
        else:
            pixels, stem = self._from_file(Path(name)), Path(name).stem
        return Seen(name, re.sub(r"[^\w.-]+", "-", stem), preprocessing(pixels[None]))

    def _from_file(self, path: Path) -> Tensor:
        if not path.is_file():
            raise InputError(f"there is no image file {path}; for an image of the run's data write test:0")
        channels, height, width = self.model.shape
        try:
            return torch.from_numpy(decode(path, size=(height, width), channels=channels))
        except Undecodable as error:
            raise InputError(f"{path} cannot be read: {error}") from error

    def _from_data(self, split: str, number: int) -> Tensor:
        path = self.spec.rpartition("@")[0] or self.spec
        if not is_run(self.spec) and not is_run(path):
            raise InputError(
                f"'{split}:{number}' means an image of a run's data, and {self.spec} is no run; give a file"
            )
        described = resolve(self.spec)[0].info["data"]
        data = load_data(described["source"], **described["options"])
        if split not in data.splits or number >= len(data.splits[split]):
            sizes = ", ".join(f"{name} 0 to {len(part) - 1}" for name, part in data.splits.items())
            raise InputError(f"there is no image {split}:{number}; there are {sizes}")
        return torch.from_numpy(data.splits[split].images[[number]][0])

    def ranking(self, images: Tensor) -> list[dict[str, Any]]:
        """All classes for one image, best first: class, logit, probability."""
        network = self.model.network.eval()
        with torch.inference_mode():
            logits = network(images)[0].float()
        order, shares = logits.argsort(descending=True).tolist(), logits.softmax(0)
        return [
            {"class": self.model.classes[index], "logit": float(logits[index]), "probability": float(shares[index])}
            for index in order
        ]

    def target(self, text: str) -> int:
        """A class by name, or by index where no class has that name."""
        if text in self.model.classes:
            return self.model.classes.index(text)
        if text.isdigit() and int(text) < len(self.model.classes):
            return int(text)
        raise unknown("class", text, self.model.classes, f"in {self.spec}")


def open_subject(spec: str, weights: str | None = None) -> Subject:
    """Load the model that is looked at."""
    return Subject(load_model(spec, weights=weights), spec)


def save_all(
    folder: Path,
    subject: Subject,
    pictures: Mapping[str, Picture],
    arrays: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> list[str]:
    """Write pictures, raw arrays and what they are; the file names, pictures first."""
    names = {f"{name}.png": picture for name, picture in pictures.items()}
    for name, picture in names.items():
        picture.save(folder / name)
    # The layout in memory (channels last) is no part of the values.
    raw = {name: value.contiguous().clone() for name, value in arrays.items()}
    write_bytes(folder / "arrays.safetensors", save(raw))
    record = {"model": subject.spec, "cutaway": __version__, "torch": torch.__version__, **about}
    write_json(folder / "about.json", json.loads(json.dumps(record)))
    return [*names, "arrays.safetensors", "about.json"]
