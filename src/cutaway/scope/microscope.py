"""One model with all its lenses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cutaway.data import Dataset, Split
from cutaway.errors import InputError
from cutaway.lenses.activations import ActivationStatistics, activation_statistics
from cutaway.lenses.architecture import Summary, summarize
from cutaway.scope.exemplars import Exemplars, exemplars
from cutaway.scope.explanation import Explanation, explain
from cutaway.scope.imagined import Imagined, dream, fool, imagine, invert
from cutaway.scope.inputs import Images
from cutaway.scope.looking import feature_maps, gradients, kernels, predict
from cutaway.scope.ranking import rank
from cutaway.scope.subject import Subject
from cutaway.showing import Named, Shown


class Scope(Subject):
    """The microscope over any network: a `Subject`, made from the same arguments, with every lens as a method.

    The network is used where it is, on its device, and left as it was by every lens.

    >>> from torch import nn, zeros
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> scope = Scope(network, classes=["cat", "dog"])
    >>> tuple(scope.feature_maps(zeros(1, 1, 8, 8), "1").maps["1"].shape)
    (1, 4, 6, 6)
    """

    # Each lens is one function that takes a subject; here it is a method with its own options and words.
    predict = predict
    feature_maps = feature_maps
    kernels = kernels
    gradients = gradients
    explain = explain
    rank = rank
    imagine = imagine
    invert = invert
    fool = fool
    dream = dream
    exemplars = exemplars

    def layers(self, shape: tuple[int, int, int] | None = None) -> Summary:
        """Every layer with output shape, parameters, multiply-adds and theoretical receptive field.

        Args:
            shape: (C, H, W) of an image; None for the model's own.
        """
        if shape is None and self.shape is None:
            raise InputError(f"{self.name} does not say its input size; give one as shape=(channels, height, width)")
        return summarize(self.network, shape or self.shape or (0, 0, 0))

    def statistics(self, data: Dataset | Split, split: str = "val", batch: int = 128) -> Named[ActivationStatistics]:
        """Zero fraction, dead channels, mean and maximum of every activation over a split of the data."""
        part = data.splits[split] if isinstance(data, Dataset) else data
        return Named(activation_statistics(self.network, self.batches(part, batch)))

    def unit(self, layer: str, channel: int) -> Unit:
        """One unit, by the layer's dotted name and the channel's number."""
        return Unit(self, layer, channel)


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

    def maps(self, images: Images) -> Tensor:
        """Its map for each image, float (N, height, width)."""
        return self.scope.feature_maps(images, self.layer).maps[self.layer][:, self.channel]

    def explain(self, images: Images, method: str = "integrated-gradients", **options: Any) -> Explanation:
        """Which pixels raise its response."""
        return self.scope.explain(images, method, self.target, **options)

    def imagine(self, style: str = "fourier", **options: Any) -> Imagined:
        """An image that excites it."""
        return self.scope.imagine([self.target], style, **options)

    def exemplars(self, data: Dataset | Split | str, k: int = 9, **options: Any) -> Exemplars:
        """The real patches that excite it most."""
        return self.scope.exemplars(data, [self.layer], k, **options)
