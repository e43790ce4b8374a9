"""The real patches of every unit, and the images that they are cut from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cutaway.data.pixels import fitted
from cutaway.pictures.exemplars import Shot, patch
from cutaway.pictures.stills import EXACT, packed, small_still
from cutaway.runs.atlas import Arrays, LayerRecord, write_arrays
from cutaway.scope.atlas.job import Job
from cutaway.scope.exemplar_result import LEVELS, LayerExemplars
from cutaway.scope.exemplars import exemplars

KINDS = ("best", "least", "quantiles")
PACK = 2048  # images a file


def write_patches(job: Job) -> None:
    """The patches of all layers, in one pass over the split; then the images, and cuts from large ones."""
    scan = job.atlas.path / "scan"
    if missing := job.missing("exemplars"):
        found = exemplars(
            job.subject,
            job.data,
            job.layers,
            job.settings["k"],
            split=job.part.name,
            folder=scan,
            progress=job.progress,
        )
        about = {"certificate": found.certificate.as_dict(), "levels": list(LEVELS)}
        for layer in missing:
            job.write("exemplars", layer, _arrays(found[layer]), about)
    shutil.rmtree(scan, ignore_errors=True)
    _write_images(job)
    if max(job.atlas.info["shape"][1:]) > EXACT:
        _write_crops(job)


def _arrays(found: LayerExemplars) -> Arrays:
    width = found.found.size[1]
    arrays: Arrays = {}
    for kind in KINDS:
        some = getattr(found, kind)
        arrays[f"{kind}.scores"] = some.scores.numpy()
        arrays[f"{kind}.images"] = some.images.int().numpy()
        arrays[f"{kind}.places"] = (some.places[..., 0] * width + some.places[..., 1]).int().numpy()
    return arrays


def _write_images(job: Job) -> None:
    """Each image that a patch is of, once, small."""
    wanted: set[int] = set()
    for layer in job.layers:
        found = job.atlas.arrays("exemplars", layer, [f"{kind}.images" for kind in KINDS]) or {}
        wanted.update(np.unique(np.concatenate([images.ravel() for images in found.values()])).tolist())
    rest = np.array(sorted(wanted - job.atlas.kept()), np.int64)
    first = 1 + len(list((job.atlas.path / "images").glob("[0-9]*.safetensors")))
    for number, start in enumerate(range(0, len(rest), PACK), start=first):
        if job.progress:
            job.progress("keeping images", start, len(rest))
        write_arrays(
            job.atlas.path / "images" / f"{number:04d}.safetensors", _pack(job, rest[start : start + PACK]), {}
        )
    if job.progress and len(rest):
        job.progress("keeping images", len(rest), len(rest))


def _pack(job: Job, ids: NDArray[np.int64]) -> Arrays:
    data, offsets = packed([small_still(image).data for image in _pixels(job, ids)])
    files = job.part.files
    names, name_offsets = packed(
        [(files[image] if files else f"{job.part.name}:{image}").encode() for image in ids.tolist()]
    )
    labels = job.part.labels[ids].astype(np.int64)
    return {
        "ids": ids,
        "labels": labels,
        "bytes": data,
        "offsets": offsets,
        "names": names,
        "name_offsets": name_offsets,
    }


def _pixels(job: Job, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    """Uint8 (n, C, H, W) in the size of the network's input."""
    return fitted(job.part.images[np.asarray(ids, np.int64)], job.scanner.preprocessing.shape)


def _write_crops(job: Job) -> None:
    missing = job.missing("crops")
    for number, layer in enumerate(missing):
        if job.progress:
            job.progress("cutting patches", number, len(missing))
        record, arrays = job.atlas.layer(layer), job.atlas.arrays("exemplars", layer) or {}
        images, places = (
            np.concatenate([arrays[f"{kind}.{what}"] for kind in KINDS], 1) for what in ("images", "places")
        )
        cuts = [list(_cuts(job, record, *row)) for row in zip(images.tolist(), places.tolist(), strict=True)]
        data, ends = packed([cut for row in cuts for cut in row])
        count = images.shape[1]
        job.write(
            "crops", layer, {"bytes": data, "ends": np.lib.stride_tricks.sliding_window_view(ends, count + 1)[::count]}
        )


def _cuts(job: Job, layer: LayerRecord, images: Sequence[int], places: Sequence[int]) -> Iterator[bytes]:
    """What the places of one unit see; nothing where that is the whole image, which is kept anyway."""
    height, width = job.atlas.info["shape"][1:]
    for image, place in zip(images, places, strict=True):
        box = layer.box(*divmod(place, layer.size[1]))
        if max(box[:2]) <= 0 and box[2] >= height and box[3] >= width:
            yield b""
        else:
            yield small_still(patch(Shot(_pixels(job, [image])[0], box, 0.0, ""))).data
