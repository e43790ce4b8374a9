"""One model with all its lenses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cutaway import __version__
from cutaway.data import Dataset, Split
from cutaway.errors import InputError
from cutaway.lenses.activations import ActivationStatistics, activation_statistics
from cutaway.lenses.architecture import Summary, summarize
from cutaway.lenses.attribution.method import Progress
from cutaway.lenses.capture import bare
from cutaway.lenses.certificate import Certificate
from cutaway.models import Model, Preprocessing, load_model
from cutaway.scope.fingerprint import Fingerprint
from cutaway.scope.inputs import Inputs, read_inputs
from cutaway.showing import Card, Named, Shown

if TYPE_CHECKING:
    from cutaway.scope.exemplars import Exemplars
    from cutaway.scope.explanation import Explanation
    from cutaway.scope.imagined import Imagined
    from cutaway.scope.looking import FeatureMaps, Gradients, Kernels, Predictions
    from cutaway.scope.ranking import Ranking


class Scope(Shown):
    """The microscope over any network.

    Args:
        model: a `Model`, any `torch.nn.Module`, or what `load_model` takes: `runs/faces-1@7`, `torchvision:resnet18`.
        classes: the names of the classes, where the model does not bring them.
        preprocessing: how pixels become the network's input, where the model does not say.
        weights: for a model by name, as in `load_model`.
        trust: whether code that this machine has not trained with may run; as in `load_model`.

    The network is used where it is, on its device, and left as it was by every lens.

    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> scope = Scope(network, classes=["cat", "dog"])
    >>> tuple(scope.feature_maps(torch.zeros(1, 1, 8, 8), "1").maps["1"].shape)
    (1, 4, 6, 6)
    """

    def __init__(
        self,
        model: Model | nn.Module | str | Path,
        *,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        weights: str | Path | None = None,
        trust: bool | str = False,
    ) -> None:
        self.spec = str(model) if isinstance(model, (str, Path)) else ""
        if isinstance(model, (str, Path)):
            model = load_model(model, classes=classes, preprocessing=preprocessing, weights=weights, trust=trust)
        if isinstance(model, Model):
            self.spec = self.spec or model.spec
            classes = classes or model.classes
            preprocessing = preprocessing or model.preprocessing
        elif not isinstance(model, nn.Module):
            raise InputError(
                f"Scope looks into a Model, a torch.nn.Module or a model's name; found {type(model).__name__}"
            )
        network = model.network if isinstance(model, Model) else model
        self.network: nn.Module = bare(network)
        self.classes: tuple[str, ...] = tuple(classes or ())
        self.preprocessing: Preprocessing | None = preprocessing
        self.shape = preprocessing.shape if preprocessing else model.shape if isinstance(model, Model) else None
        self.name: str = self.spec or type(self.network).__name__
        self._fingerprint = Fingerprint(self.network)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape)) if self.shape else "any input"
        return f"Scope({self.name}, {len(self.classes) or 'unnamed'} classes, {shape})"

    def card(self) -> Card:
        """Whose network it is, and what goes in and comes out."""
        parameters = sum(tensor.numel() for tensor in self.network.parameters())
        facts = {
            "classes": self.classes or "without names",
            "input": "×".join(map(str, self.shape)) if self.shape else "any",
            "standardised": self.preprocessing or "nobody said how",
            "parameters": parameters,
            "device": str(self.device),
            "weights": self._fingerprint.now(),
        }
        return Card(f"Scope of {self.name}", (facts,))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def inputs(self, images: Any) -> Inputs:
        """`images` as the network's input, with their pixels and names; see `read_inputs` for what it takes."""
        return read_inputs(images, self.preprocessing, self.spec)

    def certify(self, certificate: Certificate) -> Certificate:
        """`certificate` with the fingerprint of the weights, the versions and the device."""
        versions = {"cutaway": __version__, "torch": torch.__version__}
        return certificate.signed(self._fingerprint.now(), versions, str(self.device))

    def layers(self, shape: tuple[int, int, int] | None = None) -> Summary:
        """Every layer with output shape, parameters, multiply-adds and theoretical receptive field."""
        return summarize(self.network, self._shape(shape))

    def predict(self, images: Any) -> Predictions:
        """For each image all classes, best first: `class`, `logit` (what the network returns) and `probability`."""
        from cutaway.scope.looking import predict

        return predict(self, images)

    def feature_maps(self, images: Any, layers: str | Sequence[str] | None = None) -> FeatureMaps:
        """What each layer returns for each image; None for every layer that returns maps."""
        from cutaway.scope.looking import feature_maps

        return feature_maps(self, images, layers)

    def kernels(self, layers: str | Sequence[str] | None = None) -> Kernels:
        """The kernels of convolutions; None for all of them."""
        from cutaway.scope.looking import kernels

        return kernels(self, layers)

    def gradients(
        self,
        images: Any,
        target: int | str | Sequence[int | str] | None = None,
        layers: str | Sequence[str] | None = None,
    ) -> Gradients:
        """The gradient of the cross-entropy with respect to each layer's weight; `target` None: the predicted class."""
        from cutaway.scope.looking import gradients

        return gradients(self, images, target, layers)

    def statistics(self, data: Dataset | Split, split: str = "val", batch: int = 128) -> Named[ActivationStatistics]:
        """Zero fraction, dead channels, mean and maximum of every activation over a split of the data."""
        part = data.splits[split] if isinstance(data, Dataset) else data
        return Named(activation_statistics(self.network, self.batches(part, batch)))

    def explain(
        self,
        images: Any,
        method: str = "grad-cam",
        target: Any = None,
        layer: str | None = None,
        *,
        seed: int = 0,
        batch: int = 32,
        check: bool = True,
        progress: Progress | None = None,
        **options: Any,
    ) -> Explanation:
        """Why the network gives an image this score; `target` None: the predicted class. See docs/lenses/explain.md."""
        from cutaway.scope.explanation import explain

        return explain(
            self,
            images,
            method,
            target,
            layer,
            seed=seed,
            batch=batch,
            check=check,
            progress=progress,
            **options,
        )

    def rank(self, images: Any, methods: Sequence[str] | None = None, target: Any = None, **options: Any) -> Ranking:
        """Which explanation of these images is faithful: every method by every measure, best first."""
        from cutaway.scope.ranking import rank

        return rank(self, images, methods, target, **options)

    def imagine(self, targets: Any, style: str = "fourier", **options: Any) -> Imagined:
        """Images that excite classes, units, neurons or directions most. See docs/lenses/imagine.md."""
        from cutaway.scope.imagined import imagine

        return imagine(self, targets, style, **options)

    def invert(self, images: Any, layer: str, **options: Any) -> Imagined:
        """Images whose features at `layer` are those of `images`: what the layer keeps of them."""
        from cutaway.scope.imagined import invert

        return invert(self, images, layer, **options)

    def fool(self, images: Any, target: Any, **options: Any) -> Imagined:
        """The images, changed as little as it takes to be seen as `target`."""
        from cutaway.scope.imagined import fool

        return fool(self, images, target, **options)

    def dream(self, images: Any, layer: str, **options: Any) -> Imagined:
        """The images with more of whatever `layer` sees in them (DeepDream)."""
        from cutaway.scope.imagined import dream

        return dream(self, images, layer, **options)

    def exemplars(self, data: Any, layers: str | Sequence[str] | None = None, k: int = 9, **options: Any) -> Exemplars:
        """The real patches of a data set that excite each unit most. See docs/lenses/exemplars.md."""
        from cutaway.scope.exemplars import exemplars

        return exemplars(self, data, layers, k, **options)

    def unit(self, layer: str, channel: int) -> Unit:
        """One unit, by the layer's dotted name and the channel's number."""
        return Unit(self, layer, channel)

    def batches(self, split: Split, batch: int = 128) -> Any:
        """The images of a split in order, as the network expects them: float (B, C, H, W) on the network's device."""
        import numpy as np

        if self.preprocessing is None:
            raise InputError(f"{self.name} does not say how its input is standardised; give Scope a preprocessing")
        for found in split.batches(np.arange(len(split)), batch):
            yield self.preprocessing(found.images).to(self.device)

    def _shape(self, shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
        if shape is None and self.shape is None:
            raise InputError(f"{self.name} does not say its input size; give one as shape=(channels, height, width)")
        return shape or self.shape or (0, 0, 0)


@dataclass(frozen=True)
class Unit(Shown):
    """One channel of one layer, and what the lenses say of it."""

    scope: Scope
    layer: str
    channel: int

    @property
    def target(self) -> str:
        """As lenses name it: `layer3:17`."""
        return f"{self.layer}:{self.channel}"

    def maps(self, images: Any) -> Tensor:
        """Its map for each image, float (N, height, width)."""
        return self.scope.feature_maps(images, self.layer).maps[self.layer][:, self.channel]

    def explain(self, images: Any, method: str = "integrated-gradients", **options: Any) -> Explanation:
        """Which pixels raise its response."""
        return self.scope.explain(images, method, self.target, **options)

    def imagine(self, style: str = "fourier", **options: Any) -> Imagined:
        """An image that excites it."""
        return self.scope.imagine([self.target], style, **options)

    def exemplars(self, data: Any, k: int = 9, **options: Any) -> Exemplars:
        """The real patches that excite it most."""
        return self.scope.exemplars(data, [self.layer], k, **options)
