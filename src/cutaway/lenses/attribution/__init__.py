"""Attribution: where in an image the evidence for a score is, by any of the methods of `METHODS`."""

from cutaway.lenses.attribution.catalogue import METHODS
from cutaway.lenses.attribution.explain import Attribution, explain
from cutaway.lenses.attribution.layers import good_layer
from cutaway.lenses.attribution.method import Method

__all__ = ["METHODS", "Attribution", "Method", "explain", "good_layer"]
