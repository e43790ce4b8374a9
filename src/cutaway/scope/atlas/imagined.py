"""The imagined image of every unit, many at a time, in as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.data.parallel import usable_cores
from cutaway.lenses.capture import observe
from cutaway.lenses.exemplars.scan import maps_of
from cutaway.lenses.layouts import channels_last_shapes
from cutaway.lenses.synthesis import Space
from cutaway.lenses.synthesis.quick import quick_twin
from cutaway.lenses.synthesis.styles import style
from cutaway.pictures.stills import packed, small_still
from cutaway.runs.atlas import Arrays, Atlas, is_whole, write_arrays
from cutaway.scope.atlas.job import Job
from cutaway.scope.crew import Meter, Tick, crew
from cutaway.scope.exemplar_chunks import can_fork
from cutaway.scope.imagined import Imagined, imagine
from cutaway.scope.subject import Subject

SIDE = 128  # the longer side of what is kept of a larger image


@dataclass(frozen=True)
class _Chunk:
    """Neighbouring units of a layer, and the file that holds them."""

    layer: str
    channels: range
    path: Path


def write_imagined(job: Job) -> None:
    """The images of all units of all layers."""
    chunks = [chunk for layer in job.layers for chunk in _chunks(job.atlas, layer)]
    work = _Work(job, [chunk for chunk in chunks if not is_whole(chunk.path)])
    total, rest = (sum(len(chunk.channels) for chunk in some) for some in (chunks, work.chunks))
    steps = job.settings["steps"]
    meter = Meter("imagining", total * steps, rest * steps, job.progress)
    count = min(usable_cores() if can_fork(job.subject.device) else 1, len(work.chunks))
    if count > 1:
        crew(count, range(len(work.chunks)), work, meter.tick)
    else:
        work(range(len(work.chunks)), meter.tick)


def _chunks(atlas: Atlas, layer: str) -> Iterator[_Chunk]:
    size, channels = atlas.chunk_size, atlas.layer(layer).channels
    for number, first in enumerate(range(0, channels, size)):
        yield _Chunk(layer, range(first, min(first + size, channels)), atlas.chunk(layer, number))


@dataclass(frozen=True)
class _Work:
    """Imagines chunks, one after the other."""

    job: Job
    chunks: list[_Chunk]

    def __call__(self, indices: Iterable[int], tick: Tick) -> None:
        for index in indices:
            self._write(self.chunks[index], tick)

    def _write(self, chunk: _Chunk, tick: Tick) -> None:
        found = self._imagined(chunk, tick)
        data, offsets = packed([small_still(image, SIDE).data for image in found.images.numpy()])
        arrays: Arrays = {name: np.array(value, np.float32) for name, value in found.certificate.check.items()}
        arrays |= {"peak": _peaks(self.job.subject, chunk, found.inputs), "bytes": data, "offsets": offsets}
        write_arrays(chunk.path, arrays, {"certificate": found.certificate.as_dict()})

    def _imagined(self, chunk: _Chunk, tick: Tick) -> Imagined:
        settings, told = self.job.settings, 0
        _verify(self.job, chunk.layer)

        def progress(_label: str, done: int, _total: int) -> None:
            nonlocal told
            tick(done - told)
            told = done

        targets = [f"{chunk.layer}:{channel}" for channel in chunk.channels]
        options = {name: settings[name] for name in ("style", "steps", "size", "precision")}
        return imagine(self.job.subject, targets, keep=0, progress=progress, **options)


def _verify(job: Job, layer: str) -> None:
    """Verify the faster copy on the layer's first two images, whichever of its chunks comes first."""
    known, size = job.scanner.preprocessing, job.settings["size"]
    sides = (size, size) if size else known.shape[1:]
    space, chosen = Space(known.shape, known.mean, known.std).sized(*sides), style(job.settings["style"])
    first = chosen.begin(space, [f"{layer}:0", f"{layer}:1"], 0, **chosen.settled({}, space))
    quick_twin(job.subject.network, first.to(job.subject.device), [layer], job.settings["precision"])


def _peaks(subject: Subject, chunk: _Chunk, inputs: Tensor) -> NDArray[np.float32]:
    """Float32 (n,): the largest value of each unit's own map on its image."""
    inputs, peaks = inputs.to(subject.device), np.zeros(len(inputs), np.float32)
    last = channels_last_shapes(subject.network, inputs)

    def visit(layer: str, value: Tensor) -> None:
        highest = maps_of(layer, value, last).amax((2, 3)).float().cpu()
        peaks[:] = highest[torch.arange(len(highest)), torch.tensor(chunk.channels)].numpy()

    with torch.no_grad():
        observe(subject.network, inputs, [chunk.layer], visit)
    return peaks
