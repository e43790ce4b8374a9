"""The rules, in the order of importance: what a loop or its data get wrong, then layers, then rates, then outcomes."""

from cutaway.doctor.rules import loop, labels, inputs, outputs, weights, layers, rates, outcome, after  # noqa: I001  # the order of import is the order of importance

__all__ = ["after", "inputs", "labels", "layers", "loop", "outcome", "outputs", "rates", "weights"]
