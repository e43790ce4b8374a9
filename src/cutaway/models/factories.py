"""Networks from the user's own Python: `FILE.py:FACTORY` and `package.module:FACTORY`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from cutaway.errors import InputError, unknown
from cutaway.models.importing import Finder
from cutaway.models.trust import INSTALLED, Code, Untrusted, digest_of, installed_file, root_of

_CLASSES = ("num_classes", "classes")
_CHANNELS = ("in_channels", "in_chans", "channels")


def absolute(spec: str) -> str:
    """`spec` with its file's full path, so that it means the same from every folder.

    >>> absolute("package.module:make")
    'package.module:make'
    """
    place, _, factory = spec.rpartition(":")
    return f"{Path(place).resolve()}:{factory}" if place.endswith(".py") else spec


def call_factory(
    spec: str, *, classes: int | None, channels: int | None, code: Code | None = None
) -> tuple[nn.Module, dict[str, str]]:
    """The network that the factory of `spec` returns, and the code that was run for it.

    The factory is a function or an `nn.Module` class. It is called with `num_classes` (or `classes`) and
    `in_channels` (or `in_chans`, `channels`) where its signature has them; where nobody knows a number (None) its own
    default counts, and without one 10 classes and 3 channels. With `code`, no other file beside the factory's is run
    than those, as they were. Raises `InputError` where the place or the factory does not exist, raises, needs other
    arguments, or returns no `nn.Module`.
    """
    place, _, name = spec.rpartition(":")
    finder = Finder(root_of(spec), code)
    with finder.importing():
        factory = _find(_module(place, finder), place, name)
        arguments = _arguments(factory, classes, channels)
        try:
            network = factory(**arguments)
        except Exception as error:  # the user's code may raise anything
            raise _hidden(place, finder, error) or InputError(f"{spec} raised {_sentence(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{spec} returned a {type(network).__name__}; a factory returns a torch.nn.Module")
    return network, finder.ran or _installed(place)


def _installed(module: str) -> dict[str, str]:
    digest = digest_of(installed_file(module))
    return {f"{INSTALLED}{module}": digest} if digest else {}


def _module(place: str, finder: Finder) -> ModuleType:
    try:
        return _from_file(Path(place).resolve(), finder) if place.endswith(".py") else importlib.import_module(place)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise _hidden(place, finder, error) or InputError(
            f"{place} cannot be imported: there is no module '{error.name}' here; install it or check the name"
        ) from error
    except SyntaxError as error:
        raise InputError(
            f"{place} cannot be imported: line {error.lineno} is not valid Python ({error.msg})"
        ) from error
    except Exception as error:  # the user's module may raise anything
        raise InputError(f"{place} cannot be imported: it raised {_sentence(error)}") from error


def _hidden(place: str, finder: Finder, error: Exception) -> InputError | None:
    """The reason of an import that failed because what is there was not known."""
    file = finder.hidden.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
    return Untrusted(f"{place} imports {file}, which was not run when it was trained with") if file else None


def _from_file(path: Path, finder: Finder) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path}; a model's spec is FILE.py:FACTORY")
    description = finder.of_file(f"cutaway_user_{path.stem}", path)
    module = importlib.util.module_from_spec(description)
    # Dataclasses and pickled names look their module up while it is being executed.
    sys.modules[description.name] = module
    assert description.loader is not None
    description.loader.exec_module(module)
    return module


def _find(module: ModuleType, place: str, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if found is None:
        raise unknown("factory", name, own, f"in {place}")
    if isinstance(found, nn.Module) or not callable(found):
        kind = type(found).__name__
        raise InputError(f"{place}:{name} is a {kind}; name a function (or a class) that makes the network")
    return found  # type: ignore[no-any-return]  # what getattr found is known to be callable only here


def _arguments(factory: Callable[..., Any], classes: int | None, channels: int | None) -> dict[str, int]:
    try:
        known = inspect.signature(factory).parameters
    except ValueError:  # some builtins have no signature; they get no arguments
        return {}
    arguments: dict[str, int] = {}
    for names, value, usual in ((_CLASSES, classes, 10), (_CHANNELS, channels, 3)):
        for name in [name for name in names if name in known][:1]:
            if value is not None or known[name].default is inspect.Parameter.empty:
                arguments[name] = usual if value is None else value
    return arguments


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'without a message'}"
