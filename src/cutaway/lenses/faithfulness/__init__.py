"""Faithfulness: numbers that say whether a map shows what the network used."""

from cutaway.lenses.faithfulness.curves import Curve, deletion, insertion
from cutaway.lenses.faithfulness.pointing import Pointing, pointing
from cutaway.lenses.faithfulness.randomisation import Randomisation, randomisation, scrambled, similarity, spearman
from cutaway.lenses.faithfulness.road import Road, impute, road
from cutaway.lenses.faithfulness.sensitivity import Removals, Sensitivity, removals, sensitivity

__all__ = [
    "Curve",
    "Pointing",
    "Randomisation",
    "Removals",
    "Road",
    "Sensitivity",
    "deletion",
    "impute",
    "insertion",
    "pointing",
    "randomisation",
    "removals",
    "road",
    "scrambled",
    "sensitivity",
    "similarity",
    "spearman",
]
