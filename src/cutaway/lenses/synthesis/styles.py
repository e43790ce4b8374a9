"""The styles: what is optimised, how it is kept natural, and the options of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cutaway.errors import InputError, unknown
from cutaway.lenses.synthesis import classic
from cutaway.lenses.synthesis.ascent import Ascent
from cutaway.lenses.synthesis.images import Fourier, Maco, Space, magnitudes, natural_magnitudes, noise
from cutaway.lenses.synthesis.robust import Robustness, pixels_of
from cutaway.lenses.synthesis.walk import Climbed, Walk, optimise

NATURAL = "1/f"  # the law that the magnitudes of natural images follow


@dataclass(frozen=True)
class Way:
    """One way from some first images to better ones.

    Attributes:
        name: as on a certificate.
        climb: `climb(ascent, space, walk, start, **settings)`, from the images `start`.
        steps: how many by default.
        keep: a frame every so many steps by default; 0 for none.
        paper: authors and year.
    """

    name: str
    climb: Callable[..., Climbed]
    steps: int
    keep: int = 0
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class Style(Way):
    """A way that begins with noise.

    Attributes:
        begin: `begin(space, names, seed, **options)`, the images float (N, C, H, W) that it begins with.
        options: names and defaults of its options; a function of the space for one that depends on the size.
    """

    begin: Callable[..., Tensor]
    options: Mapping[str, Any]

    def settled(self, given: Mapping[str, Any], space: Space) -> dict[str, Any]:
        """All options by value, or an `InputError` for one that this style does not have."""
        for name in given:
            if name not in self.options:
                raise unknown("option", name, self.options, f"one of style '{self.name}'")
            if isinstance(given[name], (int, float)) and given[name] < 0:
                raise InputError(f"{name} is {given[name]}, expected 0 or more")
        chosen = {**self.options, **{name: value for name, value in given.items() if value is not None}}
        return {name: value(space) if callable(value) else value for name, value in chosen.items()}


def style(name: str) -> Style:
    """The style of that name, or an `InputError` with the nearest."""
    if name not in STYLES:
        raise unknown("style", name, STYLES, f"one of {', '.join(STYLES)}")
    return STYLES[name]


def _begin_classic(space: Space, names: list[str], seed: int, **_options: Any) -> Tensor:
    return noise(space.shape, seed, names)


def _fourier(space: Space, options: Mapping[str, Any]) -> Fourier:
    return Fourier(space, rate=options["rate"], decorrelate=options["decorrelate"])


def _begin_fourier(space: Space, names: list[str], seed: int, **options: Any) -> Tensor:
    images = _fourier(space, options)
    return images.inputs(images.start(names, seed))


def _climb_fourier(ascent: Ascent, space: Space, walk: Walk, _start: Tensor, **options: Any) -> Climbed:
    shift = pixels_of(options["shift"], *space.shape[1:])
    robust = Robustness(shift, (1 - options["zoom"], 1 + options["zoom"]), options["degrees"])
    return optimise(ascent, _fourier(space, options), walk, robust=robust)


def _maco(space: Space, options: Mapping[str, Any]) -> Maco:
    spectrum = options["spectrum"]
    if isinstance(spectrum, Tensor):
        found = magnitudes(spectrum, space, options["decorrelate"])
    elif spectrum == NATURAL:
        found = natural_magnitudes(space)
    else:
        raise InputError(f"spectrum is {spectrum!r}, expected '{NATURAL}' or images")
    return Maco(space, found, rate=options["rate"], decorrelate=options["decorrelate"])


def _begin_maco(space: Space, names: list[str], seed: int, **options: Any) -> Tensor:
    images = _maco(space, options)
    return images.inputs(images.start(names, seed))


def _climb_maco(ascent: Ascent, space: Space, walk: Walk, _start: Tensor, **options: Any) -> Climbed:
    robust = Robustness(crop=options["crop"], noise=options["noise"])
    return optimise(ascent, _maco(space, options), walk, robust=robust, views=options["views"])


_CLASSIC = {
    "jitter": classic.default_jitter,
    "l2": 1e-3,
    "clamp": True,
    "blur": 0.5,
    "blur_every": 10,
    "step": classic.default_step,
}
_FOURIER = {"rate": 0.05, "decorrelate": True, "shift": 16.0, "zoom": 0.1, "degrees": 5.0}
_MACO = {"rate": 0.3, "decorrelate": True, "spectrum": NATURAL, "crop": (0.6, 1.0), "noise": 0.1, "views": 1}
STYLES = {
    one.name: one
    for one in (
        Style("classic", classic.climb, 100, 25, "Simonyan et al., 2014", begin=_begin_classic, options=_CLASSIC),
        Style("fourier", _climb_fourier, 128, 0, "Olah et al., 2017", begin=_begin_fourier, options=_FOURIER),
        Style("maco", _climb_maco, 128, 0, "Fel et al., 2023", begin=_begin_maco, options=_MACO),
    )
}
