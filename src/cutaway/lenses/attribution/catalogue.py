"""All attribution methods by name."""

from __future__ import annotations

from cutaway.lenses.attribution import (
    backprop,
    cams,
    deeplift,
    gradient,
    integrated,
    perturbation,
    relevance,
    scored_cams,
)
from cutaway.lenses.attribution.method import named

_FILES = (gradient, integrated, backprop, relevance, deeplift, cams, scored_cams, perturbation)
METHODS = named(method for file in _FILES for method in file.METHODS.values())
