"""An atlas from the first file to the last; what is there is not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from cutaway.computing.twin import bf16_pays
from cutaway.data import Dataset, Split
from cutaway.errors import InputError
from cutaway.files import alone, explain_disk_errors, remove_leftovers
from cutaway.lenses.capture import find_module, module_name
from cutaway.lenses.exemplars import Surveyed, survey
from cutaway.progress import Progress
from cutaway.runs.atlas import SCHEMA_VERSION, Atlas, LayerRecord, model_atlases, open_atlas, write_info
from cutaway.runs.schema import AtlasInfo
from cutaway.scope.atlas.imagined import write_imagined
from cutaway.scope.atlas.job import Job
from cutaway.scope.atlas.patches import write_patches
from cutaway.scope.atlas.responses import write_responses
from cutaway.scope.atlas.weights import write_weights
from cutaway.scope.exemplar_chunks import Scanner, one_thread
from cutaway.scope.exemplars import batch_size, loaded, part_of
from cutaway.scope.imagined import imagine
from cutaway.scope.subject import Subject

STEPS = 64
STYLE = "fourier"
CHUNK = 64  # units a file of imagined images
_FORMAT = 2


def make_atlas(
    subject: Subject,
    data: Dataset | Split | str | Path,
    layers: str | Sequence[str] | None = None,
    *,
    folder: str | Path | None = None,
    split: str = "train",
    k: int = 9,
    images: bool = True,
    steps: int = STEPS,
    size: int | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Everything that the pages of all units show, on disk; the same call goes on after a stop.

    Args:
        subject: the network and its preprocessing.
        data: a data set, a split, or what `load_data` takes.
        layers: dotted names; None for every convolution. They are added to those that are there.
        folder: where; None for the place that `find_atlas` and `find_model_atlas` look at.
        split: which split of a data set.
        k: patches a unit and kind.
        images: whether units are imagined, which takes most of the time.
        steps: of an imagined image.
        size: its side in pixels; None for the model's own.
        progress: called as progress(label, done, total); may raise to stop, and what is done is kept.

    Raises:
        InputError: a split, layer or size that does not exist or fit, a network that does not say how its input is
            standardised, values that are not finite, a folder with another atlas.
    """
    _check(k, steps, size)
    known, data = subject.need_preprocessing(), loaded(subject, data, progress)
    part, labels, source = part_of(subject, data, split)
    scanner = Scanner(subject.network, subject.device, known, part, [], 1, batch_size(subject), False)
    settings = {"k": k, "style": STYLE, "steps": steps, "size": size, "chunk": CHUNK}
    order = _Order(subject, scanner, labels, source, settings)
    path = Path(folder or atlas_folder(subject) / order.key)
    with explain_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    busy = f"the atlas {path} is being made by another process; wait for it or stop it"
    with alone(path, busy), one_thread(subject.device):
        atlas, chosen = order.begun(path, [layers] if isinstance(layers, str) else layers)
        job = Job(subject, data, scanner, labels, source, atlas, chosen, progress)
        if images and size:
            imagine(subject, f"{chosen[0]}:0", steps=1, size=size)  # whether it fits is told before the long work
        write_patches(job)
        write_weights(job)
        write_responses(job)
        if images:
            write_imagined(job)
        remove_leftovers(path)
    return open_atlas(path)


def atlas_folder(subject: Subject) -> Path:
    """The folder of the atlases of a run's epoch, or of any other model's weights."""
    run, epoch = subject.run(), subject.epoch()
    return run.folder.atlas(epoch) if run and epoch else model_atlases(subject.fingerprint())


def _check(k: int, steps: int, size: int | None) -> None:
    for name, value in (("k", k), ("steps", steps), ("size", size)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected 1 or more")


@dataclass(frozen=True, eq=False)
class _Order:
    """What decides an atlas besides its layers."""

    subject: Subject
    scanner: Scanner
    labels: tuple[str, ...]
    source: str
    settings: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """8 hexadecimal digits of weights, data and settings."""
        about = {
            "format": _FORMAT,
            "weights": self.subject.fingerprint(),
            "data": self.scanner.split.fingerprint,
            "preprocessing": self.scanner.preprocessing.as_dict(),
            **self.scanner.fitting,
            **self.settings,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]

    def begun(self, path: Path, layers: Sequence[str] | None) -> tuple[Atlas, tuple[str, ...]]:
        """The atlas with its record written, and the layers that were asked for in the order of the pass."""
        before = open_atlas(path) if (path / "atlas.json").is_file() else None
        if before is not None and before.info["key"] != self.key:
            raise InputError(f"{path} holds an atlas of other weights, data or settings; choose another folder")
        chosen = self._survey(layers)
        every = self._survey([*before.layers, *chosen]) if before and before.layers.keys() - chosen.keys() else chosen
        # Measured once, so that what is made after a stop is computed as the rest was.
        settings = before.info["settings"] if before else {**self.settings, "precision": _precision(self.subject)}
        info = {**self._about(), "settings": settings, "layers": {name: self._row(one) for name, one in every.items()}}
        if before is None or before.info != info:
            write_info(path, cast(AtlasInfo, info))
        return open_atlas(path), tuple(chosen)

    def _survey(self, layers: Sequence[str] | None) -> dict[str, Surveyed]:
        return survey(self.subject.network, self.scanner.image(0), layers)

    def _about(self) -> dict[str, Any]:
        part = self.scanner.split
        return {
            "schema_version": SCHEMA_VERSION,
            "key": self.key,
            "model": self.subject.name,
            "epoch": self.subject.epoch(),
            "weights": self.subject.fingerprint(),
            "shape": list(self.scanner.preprocessing.shape),
            "classes": list(self.subject.classes),
            "data": {
                "source": self.source,
                "split": part.name,
                "images": len(part),
                "fingerprint": part.fingerprint,
                "classes": list(self.labels),
            },
        }

    def _row(self, found: Surveyed) -> dict[str, Any]:
        kind = type(find_module(self.subject.network, module_name(found.name))).__name__
        down, across = ((side.start, side.jump, side.size) for side in found.fields)
        return LayerRecord(found.name, kind, found.channels, found.size, (down, across), found.exact).as_dict()


def _precision(subject: Subject) -> str:
    return "bf16" if bf16_pays(subject.device.type) else "fp32"
