"""Synthesis: images made so that a class, a unit, a neuron, a direction or a whole layer responds most."""

from cutaway.lenses.synthesis.images import Space
from cutaway.lenses.synthesis.imagination import Request, Synthesis, imagine
from cutaway.lenses.synthesis.objectives import Objective, ObjectiveLike, direction, objective, whole_layer
from cutaway.lenses.synthesis.starting import dream, fool, invert
from cutaway.lenses.synthesis.styles import STYLES

__all__ = [
    "STYLES",
    "Objective",
    "ObjectiveLike",
    "Request",
    "Space",
    "Synthesis",
    "direction",
    "dream",
    "fool",
    "imagine",
    "invert",
    "objective",
    "whole_layer",
]
