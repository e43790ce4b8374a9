"""Exemplars: the real patches of a data set that excite each unit most."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cutaway.computing.memory import is_out_of_memory
from cutaway.data import Dataset, Split, load_data
from cutaway.data.sources import BUILT_IN
from cutaway.errors import InputError, unknown
from cutaway.files import alone, explain_disk_errors
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.exemplars import Replay, replay, survey
from cutaway.progress import Progress
from cutaway.scope.exemplar_chunks import SAMPLE, Found, Manifest, Scanner, Store, can_fork, computing, one_thread
from cutaway.scope.exemplar_result import Exemplars, layer_exemplars
from cutaway.scope.exemplar_workers import scan_all
from cutaway.scope.subject import Subject

__all__ = ["Exemplars", "exemplars", "parse_unit"]

_FORMAT = 1
# By how much of a layer's largest response a replay may differ: one image alone is summed in another order than many.
_CLOSE = {False: 1e-3, True: 5e-2}
_VALUES = 64 * 3 * 32 * 32  # of the images in a batch: more fall out of a core's cache


def exemplars(
    subject: Subject,
    data: Dataset | Split | str | Path,
    layers: str | Sequence[str] | None = None,
    k: int = 9,
    *,
    split: str = "train",
    folder: str | Path | None = None,
    processes: int | None = None,
    batch: int | None = None,
    precision: str = "fp32",
    units: Sequence[tuple[str, int]] = (),
    progress: Progress | None = None,
) -> Exemplars:
    """Pass a split once and keep, for every unit of these layers, the patches that excite it most.

    Args:
        subject: the network and its preprocessing.
        data: a data set, a split, or what `load_data` takes.
        layers: dotted names; None for every convolution, or for the layers of `units` if there are any. Their outputs
            are what counts: name `layer1.0.relu` for what is left after a ReLU.
        k: patches a unit and kind.
        split: which split of a data set.
        folder: where parts of the scan are kept, so that the same call goes on after a stop; None keeps nothing.
        processes: how many scan; None for one a core (one alone on an accelerator and where processes cannot be
            forked). The result does not depend on it.
        batch: images at a time; None for a size that fits the cache. Halved when memory is too small.
        precision: "fp32", or "bf16", which is faster where the processor has it and finds nearly the same patches.
        units: (layer, channel) of units that get a picture each.
        progress: called as progress(label, images done, images in all).

    Raises:
        InputError: a split, layer or channel that does not exist, an empty split, a network that does not say how its
            input is standardised, values that are not finite.
    """
    known = subject.need_preprocessing()
    _check(subject, k, processes, batch, precision)
    part, classes, source = part_of(subject, loaded(subject, data, progress), split)
    device, manifest = subject.device, Manifest.of(len(part))
    size = batch or batch_size(subject)
    named = [layers] if isinstance(layers, str) else list(layers or ())
    wanted = list(dict.fromkeys([*named, *(layer for layer, _ in units)])) or None
    scanner = Scanner(subject.network, device, known, part, [], k, size, precision == "bf16")
    surveyed = survey(subject.network, scanner.image(0), wanted)
    for layer, channel in units:
        surveyed[layer].check(channel)
    scanner = replace(scanner, layers=list(surveyed))
    notes: list[str] = []
    while True:
        try:
            with one_thread(device):
                found, key = _scan(subject, scanner, manifest, folder, processes, progress)
                checked = _replay(scanner, found)
                if folder is not None and checked.gap > _CLOSE[scanner.bf16]:  # what was kept is not what is seen now
                    found, key = _scan(subject, scanner, manifest, folder, processes, progress, anew=True)
                    checked = _replay(scanner, found)
            if checked.gap > _CLOSE[scanner.bf16]:
                notes.append(f"not to be relied on: the best images, looked at again, differ by {checked.gap:.1g}")
            break
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem) or scanner.batch == 1:
                raise
            notes.append(f"not enough memory for batches of {scanner.batch}: halved")
            scanner = replace(scanner, batch=scanner.batch // 2)
    return Exemplars(
        layers={name: layer_exemplars(surveyed[name], found[name], len(part)) for name in surveyed},
        split=part,
        classes=classes,
        source=source,
        shape=known.shape,
        certificate=subject.certify(_certificate(scanner, manifest, source, checked, key, notes)),
        units=tuple(units),
    )


def _check(subject: Subject, k: int, processes: int | None, batch: int | None, precision: str) -> None:
    for name, value in (("k", k), ("processes", processes), ("batch", batch)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected 1 or more")
    if precision not in ("fp32", "bf16"):
        raise unknown("precision", precision, ("fp32", "bf16"))
    if (processes or 1) > 1 and not can_fork(subject.device):
        raise InputError(
            f"{processes} processes were asked for; several can scan only on Linux with the network on the CPU, "
            f"and here it is on {subject.device}: leave them out"
        )


def loaded(subject: Subject, data: Dataset | Split | str | Path, progress: Progress | None = None) -> Dataset | Split:
    """The data: those of a run as it was trained on them; else a folder as the network wants it."""
    if isinstance(data, (Dataset, Split)):
        return data
    if known := subject.dataset(data, progress):
        return known
    channels, height, width = subject.shape or (3, 0, 0)
    fits = height == width and str(data) not in BUILT_IN
    size, colours = (height, channels) if fits else (None, None)
    return load_data(data, size=size, channels=colours, progress=progress)


def part_of(subject: Subject, data: Dataset | Split, split: str) -> tuple[Split, tuple[str, ...], str]:
    """The images, the names of their labels, and what they are called."""
    if isinstance(data, Dataset):
        if split not in data.splits:
            raise unknown("split", split, data.splits, f"in {data.source}")
        part, classes, source = data.splits[split], data.classes, data.name
    else:
        part, classes, source = data, subject.classes, ""
    if not len(part):
        raise InputError(f"the {part.name} split has no images; exemplars need at least one")
    return part, classes, source


def batch_size(subject: Subject) -> int:
    """So many images as fit a core's cache; more on an accelerator."""
    values = int(np.prod(subject.shape or (1,)))
    size = 1 << max(1, _VALUES // values).bit_length() - 1
    return min(max(size, 8), 64) * (1 if subject.device.type == "cpu" else 8)


def _scan(
    subject: Subject,
    scanner: Scanner,
    manifest: Manifest,
    folder: str | Path | None,
    processes: int | None,
    progress: Progress | None,
    anew: bool = False,
) -> tuple[Found, str]:
    """All tables, and the key of the scan: equal keys, equal tables; `anew` takes nothing that was kept."""
    about = {
        "format": _FORMAT,
        "weights": subject.fingerprint(),
        "data": scanner.split.fingerprint,
        "preprocessing": scanner.preprocessing.as_dict(),
        **scanner.fitting,
        "layers": scanner.layers,
        "k": scanner.k,
        "batch": scanner.batch,
        "bf16": scanner.bf16,
        "chunk": manifest.chunk,
        "sample": SAMPLE,
        "torch": torch.__version__,
        "device": scanner.device.type,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    with _kept(folder) as base, _alone(base / f"scan-{key}") as path:
        store = Store(path, key)
        if anew:
            store.clear()
        return scan_all(scanner, manifest, store, processes, progress), key


@contextmanager
def _kept(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    with explain_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with alone(path, f"the scan {path} is being made by another process; wait for it or stop it"):
        yield path


def _replay(scanner: Scanner, found: Found) -> Replay:
    with computing(scanner.device, scanner.bf16):
        return replay(scanner.network, found, scanner.image)


def _certificate(
    scanner: Scanner, manifest: Manifest, source: str, checked: Replay, key: str, notes: Sequence[str]
) -> Certificate:
    parameters = {
        "data": source,
        "split": scanner.split.name,
        "fingerprint": scanner.split.fingerprint,
        "images": len(scanner.split),
        "layers": scanner.layers,
        "k": scanner.k,
        "batch": scanner.batch,
        "precision": "bf16" if scanner.bf16 else "fp32",
        "quantiles_from": len(manifest.sample),
        "scan": key,
    }
    check = {"replay_gap": checked.gap, "replayed": checked.checked, "replayed_equal": checked.equal}
    return Certificate("exemplars", parameters, None, check, tuple(notes))


def parse_unit(text: str) -> tuple[str, int]:
    """A unit as people write it.

    >>> parse_unit("layer1.0.conv1:17")
    ('layer1.0.conv1', 17)
    """
    layer, sign, channel = text.rpartition(":")
    if not sign or not layer or not channel.isdigit():
        raise InputError(f"a unit is LAYER:CHANNEL, such as conv1:17; found '{text}'")
    return layer, int(channel)
