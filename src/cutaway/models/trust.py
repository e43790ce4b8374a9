"""Whose code may run: a factory that the user names, or one that this machine has trained with, to the letter.

A run folder may come from anybody, and its record names a Python file. So the record of a run holds the code that it
was trained with, as hashes; what this machine trained with itself is remembered in the user's own folder, out of the
reach of any run. A run's factory is called without a question only where both agree with the files that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes, user_folder, write_json

MOST_SOURCE = 16 * 2**20
"""The most bytes of a Python file that is run."""

Code = Mapping[str, str]
"""The SHA-256 of each file of a network's code, by its path below the folder that it is imported from."""


@dataclass(frozen=True)
class Permit:
    """A factory that may be called; where `code` is given, only these files, and only as they were."""

    spec: str
    code: Code | None = None


def is_own_code(spec: str) -> bool:
    """Whether `spec` is `FILE.py:FACTORY` or `package.module:FACTORY`.

    >>> is_own_code("net.py:make"), is_own_code("timm:resnet18"), is_own_code("resnet18")
    (True, False, False)
    """
    return ":" in spec and not spec.startswith(("torchvision:", "timm:"))


def permit(spec: str, code: Code, trust: bool | str, whose: str) -> Permit:
    """The network of a run, if it may be built.

    Args:
        spec: as the run's record has it.
        code: as the run's record has it; empty for a library's network, and for runs from before it was kept.
        trust: True runs what the record names; a spec runs that instead.
        whose: the run, for the message.

    Raises:
        InputError: it is code that nobody named in this command, and that this machine did not train with.
    """
    if not is_own_code(spec):
        return Permit(spec)
    if isinstance(trust, str):
        return Permit(trust)
    if trust:
        return Permit(spec)
    ways = "say --trust to run it, or --model FILE.py:FACTORY to name another (in Python: trust=...)"
    place = spec.rpartition(":")[0]
    if place.endswith(".py") and not Path(place).is_file():
        raise InputError(f"the network of {whose} is made by {spec}, and there is no such file here; {ways}")
    if not code or not _known(spec, code).is_file():
        raise InputError(
            f"the network of {whose} is made by {spec}, which is code that this machine has not trained with; "
            f"look at it, then {ways}"
        )
    changed = [name for name, digest in code.items() if digest_of(locate(spec, name)) != digest]
    if changed:
        raise InputError(
            f"{locate(spec, changed[0]) or changed[0]} is not what {whose} was trained with: it has changed since, and "
            f"the network may be another; put the old file back, or {ways}"
        )
    return Permit(spec, code)


def remember(spec: str, code: Code) -> None:
    """This machine trains with this code: from now on runs of it are opened without a question."""
    path = _known(spec, code)
    if code and not path.is_file():
        write_json(path, {"factory": spec.rpartition(":")[2], "code": dict(code)})


def _known(spec: str, code: Code) -> Path:
    # Without its path: the same file in another place is the same code. Another factory of it is not.
    about = json.dumps([spec.rpartition(":")[2], sorted(code.items())])
    return user_folder() / "trusted" / f"{hashlib.sha256(about.encode()).hexdigest()}.json"


def root_of(spec: str) -> Path:
    """The folder that the modules of a factory are imported from, if they are not installed."""
    place = spec.rpartition(":")[0]
    return Path(place).resolve().parent if place.endswith(".py") else Path.cwd()


def locate(spec: str, name: str) -> Path | None:
    """The file that a name in a network's code stands for; None for a place that is none of its own."""
    if name.startswith(INSTALLED):
        return installed_file(name.removeprefix(INSTALLED))
    path = root_of(spec) / name
    return path if path.resolve().is_relative_to(root_of(spec).resolve()) else None


INSTALLED = "installed:"
"""Before the name of a module that is no file beside the factory's, but of an installed package."""


def installed_file(module: str) -> Path | None:
    """The source of an installed module, found without running anything of it."""
    from importlib.machinery import PathFinder

    places: list[str] | None = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        found = PathFinder.find_spec(".".join(parts[:end]), places)
        if found is None:
            return None
        places = list(found.submodule_search_locations or [])
    return Path(found.origin) if found and found.origin and found.has_location else None


def digest_of(path: Path | None) -> str:
    """The SHA-256 of a file; "" if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path, MOST_SOURCE)).hexdigest() if path else ""
    except Unreadable:
        return ""
