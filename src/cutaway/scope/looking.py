"""The plain lenses: feature maps, kernels and weight gradients, with their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses import activations, weights
from cutaway.lenses.capture import module_name, need_finite
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.targets import Targets, parse_target
from cutaway.pictures import Picture, channel_grid, image_grid, kernel_grid, network_figure
from cutaway.scope.inputs import Images, Inputs, Layers
from cutaway.scope.result import Result, unique
from cutaway.scope.subject import Subject
from cutaway.showing import Card, Shown, Still, Table

# What a notebook shows of predictions, and of a network's maps.
_IMAGES, _CLASSES, _LAYERS = 8, 5, 13


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMaps(Result):
    """What layers return for images.

    Attributes:
        maps: layer -> float (N, channels, height, width), signed, in the order of the forward pass.
        names: of the images.
        certificate: how they were made.
        channels: how many channels of a layer pictures show; None for all.
    """

    maps: dict[str, Tensor]
    names: tuple[str, ...]
    certificate: Certificate
    channels: int | None = None

    def picture(self) -> Picture:
        """The whole network for the first image."""
        return self._network(0, list(self.maps))

    def preview(self) -> Picture:
        """The channels of one layer, or some layers of the whole network, evenly chosen, for the first image."""
        layers = list(self.maps)
        if len(layers) == 1:
            return self._channels(0, layers[0])
        last = len(layers) - 1
        places = sorted({round(place * last / (_LAYERS - 1)) for place in range(_LAYERS)})
        return self._network(0, [layers[place] for place in places])

    def pictures(self) -> dict[str, Picture]:
        """The whole network for each image, then each layer's channels for each image."""
        whole: dict[str, Picture] = {}
        single: dict[str, Picture] = {}
        for index, image in enumerate(unique(self.names)):
            end = f" {image}" if len(self.names) > 1 else ""
            whole[f"network{end}"] = self._network(index, list(self.maps))
            single |= {f"maps {layer}{end}": self._channels(index, layer) for layer in self.maps}
        return {**whole, **single}

    def _network(self, index: int, layers: Sequence[str]) -> Picture:
        arrays = [(layer, self._array(index, layer)) for layer in layers]
        some = "" if len(layers) == len(self.maps) else f"  ·  {len(layers)} of {len(self.maps)} layers"
        title, seed = f"{self.names[index]}{some}", self.certificate.seed or 0
        return network_figure(arrays, count=self.channels or 10, seed=seed, title=title)

    def _channels(self, index: int, layer: str) -> Picture:
        seed = self.certificate.seed or 0
        return channel_grid(self._array(index, layer), layer=layer, count=self.channels, seed=seed)

    def _array(self, index: int, layer: str) -> NDArray[Any]:
        return np.asarray(self.maps[layer][index].float().cpu().numpy())

    def arrays(self) -> dict[str, Tensor]:
        """Layer -> float32 (N, channels, height, width)."""
        return {layer: value.float() for layer, value in self.maps.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Kernels(Result):
    """Kernels of convolutions.

    Attributes:
        kernels: layer -> float (out, in / groups, kernel height, kernel width), signed.
        certificate: how they were read.
    """

    kernels: dict[str, Tensor]
    certificate: Certificate
    what: str = "kernels"

    def picture(self) -> Picture:
        """The grid of the first layer that has one."""
        return self._grid(self._drawn()[0])

    def preview(self) -> Picture | None:
        """The same, or nothing."""
        return self.picture() if self._drawn() else None

    def pictures(self) -> dict[str, Picture]:
        """A grid a layer; a layer without places (a linear one) is in the arrays alone."""
        return {f"{self.what} {layer}": self._grid(layer) for layer in self._drawn()}

    def _drawn(self) -> list[str]:
        return [layer for layer, value in self.kernels.items() if value.ndim == 4]

    def _grid(self, layer: str) -> Picture:
        values, seed = self.kernels[layer].float().cpu().numpy(), self.certificate.seed or 0
        return kernel_grid(values, layer=layer, what=self.what, seed=seed)

    def arrays(self) -> dict[str, Tensor]:
        """Layer -> float32, as the weight's shape."""
        return {layer: value.float() for layer, value in self.kernels.items()}


class Gradients(Kernels):
    """The gradient of the loss with respect to each layer's weight: `kernels` holds them, in the weights' shapes."""


class Predictions(list[list[dict[str, Any]]], Shown):
    """For each image of `inputs` all classes, best first: `class`, `logit` and `probability`."""

    def __init__(self, rows: Iterable[list[dict[str, Any]]], inputs: Inputs) -> None:
        super().__init__(rows)
        self.inputs = inputs

    def card(self) -> Card:
        """The images, and the best classes of each."""
        shown = self[:_IMAGES]
        rest = len(self) - len(shown)
        some = (f"the first {len(shown)} of {len(self)} images",) if rest else ()
        return Card("", [part for index in range(len(shown)) for part in self._ranked(index)], some)

    def _ranked(self, index: int) -> tuple[Still, Table]:
        name = self.inputs.names[index]
        picture = image_grid(self.inputs.pixels[index : index + 1].numpy(), [name])
        rows = [
            (row["class"], float(row["logit"]), f"{row['probability']:.1%}", _bar(row["probability"]))
            for row in self[index][:_CLASSES]
        ]
        return Still(picture.png(), name), Table(("class", "logit", "probability", ""), rows)


def _bar(share: float) -> str:
    """A share as a bar of up to 20 signs, so that a ranking is seen at a glance."""
    return "█" * round(20 * share)


def predict(subject: Subject, images: Images) -> Predictions:
    """For each image all classes, best first: `class`, `logit` (what the network returns) and `probability`.

    Args:
        images: files, `test:0`, pixels or tensors; see `read_inputs`.

    Raises:
        InputError: an image that cannot be read or does not fit, logits that are not finite.
    """
    given = subject.inputs(images)
    logits = weights.logits(subject.network, given.values)
    need_finite(logits, "the score of a class", subject.network, given.values)
    found = []
    for row, shares in zip(logits, logits.softmax(1), strict=True):
        order = row.argsort(descending=True, stable=True).tolist()
        names = [subject.classes[index] if index < len(subject.classes) else str(index) for index in order]
        found.append(
            [
                {"class": name, "logit": float(row[index]), "probability": float(shares[index])}
                for name, index in zip(names, order, strict=True)
            ]
        )
    return Predictions(found, given)


def feature_maps(
    subject: Subject, images: Images, layers: Layers = None, *, channels: int | None = None, seed: int = 0
) -> FeatureMaps:
    """What each layer returns for each image.

    Args:
        images: files, `test:0`, pixels or tensors; see `read_inputs`.
        layers: dotted names; None for every layer that returns maps.
        channels: how many channels of a layer pictures show; None for as many as fit.
        seed: of the choice of these channels.

    Raises:
        InputError: an image that cannot be read, an unknown layer, one without maps, values that are not finite.
    """
    given = subject.inputs(images)
    names = _listed(layers)
    found = activations.feature_maps(subject.network, given.values, names)
    for layer, value in found.items():
        need_finite(value, f"what layer '{layer}' returns", subject.network, given.values)
    certificate = Certificate("feature maps", {"images": list(given.names), "layers": list(found)}, seed)
    return FeatureMaps(found, given.names, subject.certify(certificate), channels)


def of_convolutions(subject: Subject, found: FeatureMaps) -> FeatureMaps:
    """Of these maps those that convolutions return, every call of them."""
    convolutions = set(need_convolutions(subject))
    return replace(found, maps={name: maps for name, maps in found.maps.items() if module_name(name) in convolutions})


def kernels(subject: Subject, layers: Layers = None, *, seed: int = 0) -> Kernels:
    """The kernels of convolutions.

    Args:
        layers: dotted names; None for all convolutions.
        seed: of the choice of kernels that pictures show where not all fit.

    Raises:
        InputError: an unknown layer, or one without a weight.
    """
    names = _listed(layers) or need_convolutions(subject)
    found = {name: weights.kernels(subject.network, name) for name in names}
    return Kernels(found, subject.certify(Certificate("kernels", {"layers": names}, seed)))


def gradients(
    subject: Subject,
    images: Images,
    target: Targets | None = None,
    layers: Layers = None,
    *,
    seed: int = 0,
) -> Gradients:
    """The gradient of the cross-entropy, mean over the images, with respect to each layer's weight.

    Args:
        images: files, `test:0`, pixels or tensors; see `read_inputs`.
        target: the right class of all images, or a list of one for each; None for the predicted class.
        layers: dotted names; None for all that have a weight of four dimensions.
        seed: of the choice of kernels that pictures show where not all fit.

    Raises:
        InputError: an image that cannot be read, an unknown class or layer, a gradient that is not finite.
    """
    given = subject.inputs(images)
    labels = _labels(subject, given.values, target)
    names = _listed(layers)
    found = weights.gradients(subject.network, given.values, labels, names)
    if names is None:
        found = {name: value for name, value in found.items() if value.ndim == 4} or found
    for layer, value in found.items():
        need_finite(value, f"the gradient of layer '{layer}'", subject.network, given.values)
    classes = [subject.classes[index] if subject.classes else index for index in labels.tolist()]
    about = {"images": list(given.names), "target": classes, "loss": "cross-entropy, mean over the images"}
    return Gradients(found, subject.certify(Certificate("gradients", about, seed)), "gradients")


def need_convolutions(subject: Subject) -> list[str]:
    """The names of all convolutions, or an error where there is none."""
    names = weights.conv_names(subject.network)
    if not names:
        raise InputError(
            f"{subject.name} has no 2-D convolution; name the layers to look at, `cutaway summary` lists them"
        )
    return names


def _labels(subject: Subject, images: Tensor, target: Targets | None) -> Tensor:
    if target is None:
        logits = weights.logits(subject.network, images)
        return logits.argmax(1)
    parsed = parse_target(target, subject.classes)
    if parsed.layer or parsed.minus:
        raise InputError(f"the loss needs the right class of each image; found the target {parsed.names[0]!r}")
    if len(parsed.plus) not in (1, len(images)):
        raise InputError(f"{len(images)} images need one target for all or {len(images)}; found {len(parsed.plus)}")
    return torch.tensor(parsed.plus).expand(len(images))


def _listed(layers: Layers) -> list[str] | None:
    return [layers] if isinstance(layers, str) else None if layers is None else list(layers)
