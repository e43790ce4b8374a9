"""Cutaway: train an image classifier and see inside it."""

from __future__ import annotations

from cutaway.version import __version__ as __version__

# True for a type checker. Nothing is imported here, so that the program answers Ctrl-C as soon as it is started.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cutaway.care import audit
    from cutaway.data import Dataset, load_data
    from cutaway.doctor import diagnose, watch
    from cutaway.errors import InputError
    from cutaway.models import Model, Preprocessing, load_model
    from cutaway.runs import Run, open_run
    from cutaway.scope import Scope, compare
    from cutaway.training import Diverged, Interrupted, Watcher, evaluate, resume, train

_HOME = {
    "audit": "care",
    "Dataset": "data",
    "load_data": "data",
    "diagnose": "doctor",
    "watch": "doctor",
    "InputError": "errors",
    "Model": "models",
    "Preprocessing": "models",
    "load_model": "models",
    "Run": "runs",
    "open_run": "runs",
    "Scope": "scope",
    "compare": "scope",
    "Diverged": "training",
    "Interrupted": "training",
    "Watcher": "training",
    "evaluate": "training",
    "resume": "training",
    "train": "training",
}

__all__ = [
    "Dataset",
    "Diverged",
    "InputError",
    "Interrupted",
    "Model",
    "Preprocessing",
    "Run",
    "Scope",
    "Watcher",
    "audit",
    "compare",
    "diagnose",
    "evaluate",
    "load_data",
    "load_model",
    "open_run",
    "resume",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cutaway' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"cutaway.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
