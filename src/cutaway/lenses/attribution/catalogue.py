"""All attribution methods by name."""

from __future__ import annotations

import importlib

from cutaway.lenses.attribution.method import Method, named

_found: list[Method] = []
for _file in "gradient", "integrated", "backprop", "relevance", "deeplift", "cams", "scored_cams", "perturbation":
    try:
        _module = importlib.import_module(f"cutaway.lenses.attribution.{_file}")
        _found += getattr(_module, "METHODS", {}).values()
    except (ImportError, SyntaxError, NameError):
        continue
METHODS = named(_found)
