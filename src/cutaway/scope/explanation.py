"""Explanations: which parts of an image speak for a score, with the check that the weights matter for the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import METHODS, Attribution
from cutaway.lenses.attribution import explain as attribute
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.faithfulness import scrambled, spearman
from cutaway.lenses.targets import Targets
from cutaway.numerals import number
from cutaway.pictures import Picture
from cutaway.pictures.explanation import explanation_figure
from cutaway.progress import Progress
from cutaway.scope.inputs import Images
from cutaway.scope.result import Result
from cutaway.scope.subject import Subject

CHECK = "similarity_after_randomisation"
_ROWS = 8  # images in one picture


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Result):
    """Maps of what speaks for a target.

    Attributes:
        pixels: uint8 (N, C, H, W), the images.
        names: what each image is called.
        attribution: the values (raw and signed), scores, target and layer.
        certificate: how it was made. Among its checks is Spearman's correlation of the first image's map with that of
            a copy whose weights are scrambled: near 1, the map does not show what the network has learnt.
    """

    pixels: Tensor
    names: tuple[str, ...]
    attribution: Attribution
    certificate: Certificate

    @property
    def heat(self) -> Tensor:
        """Float32 (N, H, W), one number a pixel, as pictures show it; see `Attribution.heat`."""
        return self.attribution.heat()

    def pictures(self) -> dict[str, Picture]:
        """A row an image: the image, its map on a numbered scale, and the map over the image; eight a picture."""
        pages = range(0, len(self.names), _ROWS)
        return {
            self.attribution.method + (f" {start}" if len(pages) > 1 else ""): self._page(slice(start, start + _ROWS))
            for start in pages
        }

    def _page(self, part: slice) -> Picture:
        found = self.attribution
        target = found.target.names[0] if len(found.target.names) == 1 else "a target an image"
        lines = [
            f"{name}: {found.target.name(index)} {number(float(found.scores[index]))}"
            for index, name in enumerate(self.names)
        ]
        return explanation_figure(
            self.pixels[part].numpy(),
            self.heat[part].numpy(),
            title="  ·  ".join(word for word in (found.method, target, found.layer) if word),
            names=lines[part],
            signed=None if METHODS[found.method].signed else False,
        )

    def arrays(self) -> dict[str, Tensor]:
        """`values` raw and signed, `heat` (N, H, W) as shown, and the target's `scores` (N,)."""
        return {"values": self.attribution.values, "heat": self.heat, "scores": self.attribution.scores}


def explain(
    subject: Subject,
    images: Images,
    method: str = "grad-cam",
    target: Targets | None = None,
    layer: str | None = None,
    *,
    seed: int = 0,
    batch: int = 32,
    check: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Explanation:
    """Which parts of the images speak for a target.

    Args:
        subject: the model.
        images: files, `test:0`, pixels or tensors; see `read_inputs`.
        method: one of `cutaway.lenses.attribution.METHODS`.
        target: a class, a difference of classes, a unit, or a list with one an image; None: each image's prediction.
        layer: for class activation maps; None for the last one with maps.
        seed: of all random choices.
        batch: at most so many images go through the network at once.
        check: also explain the first image with the weights scrambled. It costs one image more; leave it out for bulk.
        progress: called as (label, done, total).
        options: the method's own.
    """
    given = subject.inputs(images)
    found = attribute(
        subject.network,
        given.values,
        method,
        target,
        layer,
        classes=subject.classes,
        seed=seed,
        batch=batch,
        progress=progress,
        **options,
    )
    certificate = subject.certify(found.certificate)
    parameters = {"images": list(given.names), **certificate.parameters}
    certificate = replace(certificate, parameters=parameters)
    if check:
        kept, notes = kept_after_randomisation(subject, certificate.weights, given.values, found, seed, batch, options)
        certificate = replace(certificate, notes=(*certificate.notes, *notes))
        if kept is not None:
            # The seed decides which places the weights change, also where the method itself makes no choice.
            certificate = replace(certificate, check={**certificate.check, CHECK: kept}, seed=seed)
    return Explanation(given.pixels, given.names, found, certificate)


def kept_after_randomisation(
    subject: Subject,
    weights: str,
    images: Tensor,
    found: Attribution,
    seed: int,
    batch: int,
    options: Mapping[str, Any],
) -> tuple[float | None, tuple[str, ...]]:
    """Spearman's correlation of the first image's map with a scrambled copy's, or None and a note that says why not.

    `weights` is the fingerprint of the network's, which decides whether the copy of last time serves again.
    """
    try:
        other = attribute(
            _twin(subject, weights, seed),
            images[:1],
            found.method,
            found.target.of([0]),
            found.layer or None,
            seed=seed,
            batch=batch,
            **options,
        )
    except InputError as error:
        return None, (f"not checked with scrambled weights: {error}",)
    return float(spearman(found.heat(signed=True)[:1], other.heat(signed=True))), ()


# One scrambled copy a subject, made again when the weights have changed.
_TWINS: WeakKeyDictionary[Subject, tuple[str, int, nn.Module]] = WeakKeyDictionary()


def _twin(subject: Subject, weights: str, seed: int) -> nn.Module:
    kept = _TWINS.get(subject)
    if kept is None or kept[:2] != (weights, seed):
        kept = (weights, seed, scrambled(subject.network, seed))
        _TWINS[subject] = kept
    return kept[2]
