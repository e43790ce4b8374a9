"""Scope: one model with all its lenses, and results that carry their pictures and certificates."""

from cutaway.scope.comparison import compare
from cutaway.scope.inputs import Inputs
from cutaway.scope.microscope import Scope, Unit
from cutaway.scope.result import Result

__all__ = ["Inputs", "Result", "Scope", "Unit", "compare"]
