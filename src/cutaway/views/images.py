"""What the pages of images show, as plain data: the answers to a split, its surest mistakes, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.pictures.colours import Scale
from cutaway.pictures.explanation import heat_scale, overlay
from cutaway.pictures.stills import Still, small_still
from cutaway.progress import Progress
from cutaway.views.checks import own_check
from cutaway.words import Words

if TYPE_CHECKING:
    from cutaway.data import Split
    from cutaway.models import Preprocessing
    from cutaway.scope import Scope

METHODS = ("grad-cam", "layer-cam", "integrated-gradients", "occlusion")
_TOP = 10  # classes whose scores are shown


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network says of every image of a split.

    Attributes:
        labels: int64 (N,), the true classes.
        predicted: int64 (N,).
        probability: float32 (N,), of the predicted class.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]

    def mistakes(self, true: int | None = None, given: int | None = None) -> list[int]:
        """The images with a wrong answer, the surest first; of one cell of the confusion matrix if it is named."""
        rows = self.predicted != self.labels
        if true is not None:
            rows &= self.labels == true
        if given is not None:
            rows &= self.predicted == given
        found = np.flatnonzero(rows)
        return [int(row) for row in found[np.argsort(-self.probability[found], kind="stable")]]


@dataclass(frozen=True)
class ClassScore:
    """One class of an image's answer: the probability that softmax makes of its logit, and that (None: not kept)."""

    label: str
    probability: float
    logit: float | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for one class by one method.

    Attributes:
        label: the class.
        score: the number that is explained.
        low, high: the ends of the map's values.
        over: the map over the image.
    """

    label: str
    score: float
    low: float
    high: float
    over: Still


@dataclass(frozen=True, eq=False)
class Explained:
    """One method on one image: the predicted class, then the true one if it is another, on one scale.

    Attributes:
        method: its name.
        layer: the layer it reads; "" for none.
        scale: of all its maps of this image.
        maps: one a class.
        check: the certificate's checks.
    """

    method: str
    layer: str
    scale: Scale
    maps: tuple[Evidence, ...]
    check: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ImageView:
    """One image and its answer.

    Attributes:
        name: such as `test:412`.
        index: its position in the split.
        still: what the network got, before it was standardised.
        true: its class; "" where nobody knows.
        scores: the classes, best first.
        explained: the methods.
        left_out: methods that cannot be applied, each with the reason.
        input: what was done to the pixels, by what it is called.
    """

    name: str
    index: int
    still: Still
    true: str
    scores: tuple[ClassScore, ...]
    explained: tuple[Explained, ...]
    left_out: tuple[str, ...]
    input: Mapping[str, str]

    @property
    def right(self) -> bool:
        """Whether the best class is the true one."""
        return bool(self.scores) and self.scores[0].label == self.true


def view_images(
    scope: Scope,
    split: Split,
    rows: Sequence[int],
    say: Words,
    methods: Sequence[str] = METHODS,
    progress: Progress | None = None,
) -> tuple[ImageView, ...]:
    """Images of a split with their scores and explanations; all of them go through each method together."""
    names = [f"{split.name}:{row}" for row in rows]
    pixels = np.asarray(split.images[np.asarray(rows, np.int64)])
    inputs = scope.inputs(pixels)
    ranked = scope.predict(inputs.values)
    true = [scope.classes[int(split.labels[row])] for row in rows]
    explained: list[list[Explained]] = [[] for _ in rows]
    left_out = []
    for place, method in enumerate(methods):
        if progress:
            progress("explaining", place, len(methods))
        try:
            found = _explain(scope, inputs.values, method, [[row[0]["class"] for row in ranked], true])
        except InputError as error:
            left_out.append(f"{method}: {error}")
            continue
        for index, one in enumerate(found):
            explained[index].append(one(pixels[index], true[index] == ranked[index][0]["class"]))
    if progress:
        progress("explaining", len(methods), len(methods))
    return tuple(
        ImageView(
            name=names[index],
            index=int(row),
            still=small_still(pixels[index]),
            true=true[index],
            scores=tuple(ClassScore(one["class"], one["probability"], one["logit"]) for one in ranked[index][:_TOP]),
            explained=tuple(explained[index]),
            left_out=tuple(left_out),
            input=prepared(pixels.shape[1:], pixels.shape[2:], scope.preprocessing, say),
        )
        for index, row in enumerate(rows)
    )


def _explain(
    scope: Scope, images: Any, method: str, targets: Sequence[list[str]]
) -> list[Callable[[NDArray[np.uint8], bool], Explained]]:
    """For each image a function of its pixels and of whether one class is enough."""
    found = [scope.explain(images, method, classes, check=place == 0) for place, classes in enumerate(targets)]
    heats = [np.asarray(one.attribution.heat(signed=True)) for one in found]

    def of(index: int) -> Callable[[NDArray[np.uint8], bool], Explained]:
        def explained(pixels: NDArray[np.uint8], once: bool) -> Explained:
            shown = range(1 if once else len(found))
            return view_explained(
                method,
                found[0].attribution.layer or "",
                pixels,
                [targets[place][index] for place in shown],
                [float(found[place].attribution.scores[index]) for place in shown],
                np.stack([heats[place][index] for place in shown]),
                own_check(found[0].certificate.check, index, len(images)),
            )

        return explained

    return [of(index) for index in range(len(images))]


def view_explained(
    method: str,
    layer: str,
    pixels: NDArray[np.uint8],
    targets: Sequence[str],
    scores: Sequence[float],
    heats: NDArray[Any],
    check: Mapping[str, Any],
) -> Explained:
    """One method's maps float (targets, H, W) of one image uint8 (C, H, W), all on one scale."""
    scale = heat_scale(heats, signed=True)
    maps = tuple(
        Evidence(target, score, float(heat.min()), float(heat.max()), Still.png(overlay(pixels, heat, scale)))
        for target, score, heat in zip(targets, scores, heats, strict=True)
    )
    return Explained(method, layer, scale, maps, check)


def prepared(
    shape: Sequence[int], original: tuple[int, int], ready: Preprocessing | None, say: Words
) -> dict[str, str]:
    """What was done to an image of `original` height and width before the network saw it as `shape` (C, H, W).

    Returns:
        For each step, in order, what it is called and what it did.
    """
    channels, height, width = shape
    steps: list[tuple[str, dict[str, Any]]] = [("prepare.read", {"height": original[0], "width": original[1]})]
    if original != (height, width):
        steps.append(("prepare.fit", {"height": height, "width": width}))
    steps.append(("prepare.grey" if channels == 1 else "prepare.colour", {}))
    if ready is not None:
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (ready.mean, ready.std))
        steps.append(("prepare.standardise", {"mean": mean, "std": std}))
    return {f"{place}. {say(f'{key}.name')}": say(key, **values) for place, (key, values) in enumerate(steps, 1)}
