"""What a network does with an image, as arrays, computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.pictures.colours import Scale, finite_range
from cutaway.web.images import Chosen
from cutaway.web.subject import Subject

Array = NDArray[np.float32]
LENSES = ("maps", "kernels", "gradients")


def maps(subject: Subject, image: Chosen, layer: str) -> Array:
    """What a layer returns for the image, float32 (channels, height, width)."""
    subject.layer(layer)

    def compute() -> Array:
        found = subject.scope().feature_maps([image.pixels], [layer]).maps[layer]
        return np.ascontiguousarray(found[0].float().cpu().numpy())

    found: Array = subject.site.values.get(("maps", *subject.key, image.key, layer), compute)
    return found


def walk(subject: Subject, image: Chosen, layers: tuple[str, ...]) -> dict[str, Array]:
    """What several layers return for the image, in one pass."""

    def compute() -> dict[str, Array]:
        found = subject.scope().feature_maps([image.pixels], list(layers)).maps
        return {layer: value[0].float().cpu().numpy().copy() for layer, value in found.items()}

    found: dict[str, Array] = subject.site.values.get(("walk", *subject.key, image.key, layers), compute)
    return found


def kernels(subject: Subject, layer: str) -> Array:
    """The kernels of a convolution, float32 (out, in, height, width)."""

    def compute() -> Array:
        return subject.scope().kernels([layer]).kernels[layer].float().cpu().numpy().copy()

    found: Array = subject.site.values.get(("kernels", *subject.key, layer), compute)
    return found


def gradients(subject: Subject, image: Chosen, layer: str) -> Array:
    """The gradient of the loss for the image's true class (else the predicted one), in the kernels' shape."""

    def compute() -> Array:
        found = subject.scope().gradients([image.pixels], image.target, [layer]).kernels[layer]
        return found.float().cpu().numpy().copy()

    found: Array = subject.site.values.get(("gradients", *subject.key, image.key, image.target, layer), compute)
    return found


def scores(subject: Subject, image: Chosen) -> list[dict[str, Any]]:
    """All classes, best first: class, logit, probability."""

    def compute() -> list[dict[str, Any]]:
        return subject.scope().predict([image.pixels])[0]

    found: list[dict[str, Any]] = subject.site.values.get(("scores", *subject.key, image.key), compute)
    return found


def has_kernels(subject: Subject, layer: str) -> bool:
    """Whether the layer is a convolution with kernels of two dimensions."""
    row = subject.layer(layer)
    return row.kernel is not None and len(row.kernel) == 2 and bool(row.parameters or row.shared)


def values(subject: Subject, lens: str, image: Chosen | None, layer: str) -> Array:
    """The values of a lens as tiles, float32 (channels, height, width).

    Of kernels and gradients a tile is the slice with the largest norm; `strongest` says which.
    """
    if lens == "maps":
        return maps(subject, _need(image), layer)
    return _slices(_weights(subject, lens, image, layer))


def _weights(subject: Subject, lens: str, image: Chosen | None, layer: str) -> Array:
    if not has_kernels(subject, layer):
        raise InputError(f"layer '{layer}' of {subject.name} has no kernels; look at its maps")
    return kernels(subject, layer) if lens == "kernels" else gradients(subject, _need(image), layer)


def strongest(subject: Subject, lens: str, image: Chosen | None, layer: str) -> NDArray[np.int64]:
    """For each output channel the input whose slice has the largest norm, int64 (out,)."""
    weights = _weights(subject, lens, image, layer)
    return np.asarray(np.linalg.norm(weights, axis=(2, 3)).argmax(1))


def _slices(weights: Array) -> Array:
    chosen = np.linalg.norm(weights, axis=(2, 3)).argmax(1)
    return np.ascontiguousarray(weights[np.arange(len(weights)), chosen])


def _need(image: Chosen | None) -> Chosen:
    if image is None:
        raise InputError("there is no image to look at yet; bring one: drop it on the page")
    return image


def epochs_scale(subject: Subject, lens: str, image: Chosen | None, layer: str) -> Scale:
    """One scale for a layer through all epochs, so that moving the slider moves the picture and not the colours."""
    epochs = subject.scale_epochs
    if subject.run is None or len(epochs) < 2:
        return Scale.of(values(subject, lens, image, layer))
    others = [Subject.of_run(subject.site, subject.run, epoch) for epoch in epochs]
    stamps = tuple(other.stamp for other in others)
    key = ("scale", subject.run.folder.path, stamps, lens, image.key if image else "", layer)

    def compute() -> Scale:
        ends = [finite_range(values(other, lens, image, layer)) for other in others]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        return Scale.of(np.array([low, high], dtype=np.float32))

    found: Scale = subject.site.values.get(key, compute)
    return found
