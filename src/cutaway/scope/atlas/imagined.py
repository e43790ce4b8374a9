"""The imagined image of every unit, many at a time, in as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cutaway.data.parallel import usable_cores
from cutaway.lenses.capture import observe
from cutaway.lenses.exemplars.scan import maps_of
from cutaway.lenses.layouts import channels_last_shapes
from cutaway.lenses.synthesis import Space
from cutaway.lenses.synthesis.quick import quick_twin
from cutaway.lenses.synthesis.styles import style
from cutaway.pictures.stills import packed, small_still
from cutaway.runs.atlas import write_arrays
from cutaway.scope.atlas.job import Job
from cutaway.scope.crew import Meter, Tick, crew
from cutaway.scope.exemplar_chunks import can_fork
from cutaway.scope.imagined import Imagined, imagine

SIDE = 128  # the longer side of what is kept of a larger image


def write_imagined(job: Job) -> None:
    """The images of all units of all layers."""
    chunks = [
        Chunk(layer, first, min(job.atlas.chunk_size, record.channels - first))
        for layer in job.layers
        for record in [job.atlas.layer(layer)]
        for first in range(0, record.channels, job.atlas.chunk_size)
    ]
    work = _Work(job, [one for one in chunks if not job.atlas.chunk(one.layer, one.number(job)).is_file()])
    total, rest = (sum(one.count for one in some) * job.settings["steps"] for some in (chunks, work.chunks))
    meter = Meter("imagining", total, rest, job.progress)
    count = min(usable_cores() if can_fork(job.scope.device) else 1, len(work.chunks))
    if count > 1:
        crew(count, range(len(work.chunks)), work, meter.tick)
    else:
        work(range(len(work.chunks)), meter.tick)


@dataclass(frozen=True)
class Chunk:
    """Units `first` to `first + count - 1` of a layer: what one file holds."""

    layer: str
    first: int
    count: int

    def number(self, job: Job) -> int:
        """Of the file."""
        return self.first // job.atlas.chunk_size


@dataclass(frozen=True)
class _Work:
    job: Job
    chunks: list[Chunk]

    def __call__(self, indices: Iterable[int], tick: Tick) -> None:
        for index in indices:
            self._write(self.chunks[index], tick)

    def _write(self, chunk: Chunk, tick: Tick) -> None:
        job, settings = self.job, self.job.settings
        precision = _verified(job, chunk.layer)
        targets = [f"{chunk.layer}:{chunk.first + place}" for place in range(chunk.count)]
        done = 0

        def tell(_label: str, now: int, _total: int) -> None:
            nonlocal done
            tick(now - done)
            done = now

        found = imagine(
            job.scope,
            targets,
            settings["style"],
            steps=settings["steps"],
            size=settings["size"],
            keep=0,
            precision=precision,
            progress=tell,
        )
        data, offsets = packed([small_still(image, SIDE).data for image in found.images.numpy()])
        check = {name: np.array(value, np.float32) for name, value in found.certificate.check.items()}
        arrays = {**check, "peak": _peaks(job, chunk, found), "bytes": data, "offsets": offsets}
        about = {"certificate": found.certificate.as_dict()}
        write_arrays(job.atlas.chunk(chunk.layer, chunk.number(job)), arrays, about)


def _verified(job: Job, layer: str) -> str:
    """The precision of a layer's images; the faster copy is verified on the same images whichever chunk comes first."""
    precision: str = job.settings["precision"]
    known, size = job.scanner.preprocessing, job.settings["size"]
    space = Space(known.shape, known.mean, known.std).sized(*([size] * 2 if size else known.shape[1:]))
    chosen = style(job.settings["style"])
    first = chosen.begin(space, [f"{layer}:0", f"{layer}:1"], 0, **chosen.settled({}, space))
    quick_twin(job.scope.network, first.to(job.scope.device), [layer], precision)
    return precision


def _peaks(job: Job, chunk: Chunk, found: Imagined) -> np.ndarray:
    """Float32 (n,): the largest value of each unit's own map on its image."""
    inputs = found.inputs.to(job.scope.device)
    peaks: list[Tensor] = []
    last = channels_last_shapes(job.scope.network, inputs)

    def visit(layer: str, value: Tensor) -> None:
        mine = torch.arange(chunk.count, device=value.device)
        peaks.append(maps_of(layer, value, last).flatten(2).amax(2)[mine, chunk.first + mine].float().cpu())

    with torch.no_grad():
        observe(job.scope.network, inputs, [chunk.layer], visit)
    return peaks[0].numpy()
