"""Whose code may run: a factory that the user names, or one that this machine has trained with, to the letter.

A run folder may come from anybody, and its record names a Python file. So the record of a run holds the code that it
was trained with, as hashes; what this machine trained with itself is remembered in the user's own folder, out of the
reach of any run. A run's factory is called without a question only where both agree with the files that are there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes, user_folder, write_json
from cutaway.models.builtin import model_names
from cutaway.runs import means_run, resolve

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


class Untrusted(InputError):  # noqa: N818  # it reads as what it says of the code
    """Code that nobody named in this command and that this machine does not know.

    Args:
        why: what it is, the first half of the sentence.
        there: whether it is there to be run.
    """

    def __init__(self, why: str, there: bool = True) -> None:
        name = "--model FILE.py:FACTORY"
        run = f"look at it, then say --trust to run it, or {name} to run another (in Python: trust=True or a factory)"
        super().__init__(f"{why}; {run if there else f'say where it is with {name} (in Python: trust=...)'}")
        self.why, self.there = why, there

    def instead(self, trust: str, missing: str = "put it back") -> InputError:
        """The sentence with the ways out of a place that has others."""
        return InputError(f"{self.why}; {trust if self.there else missing}")


def permit(spec: str, code: Code, trust: bool | str, whose: str) -> Permit:
    """The network of a run, if it may be built.

    Args:
        spec: as the run's record has it.
        code: as the run's record has it; empty for a library's network, and for runs from before it was kept.
        trust: True runs what the record names; a spec runs that instead.
        whose: the run, for the message.

    Raises:
        Untrusted: it is code that nobody named in this command, and that this machine did not train with.
        InputError: the record names no network, or a factory was named for a library's.
    """
    if not is_own_code(spec):
        if ":" not in spec and spec not in model_names():
            raise InputError(f"the network of {whose} is '{spec}', which is no name of a network that can be built")
        if isinstance(trust, str):
            raise InputError(f"the network of {whose} is {spec}, which no factory makes; leave out {trust}")
        return Permit(spec)
    if trust:
        return Permit(trust if isinstance(trust, str) else spec)
    _check_known(spec, code, f"the network of {whose} is made by {spec}")
    for name, digest in code.items():
        if digest_of(locate(spec, name)) != digest:
            raise _changed(locate(spec, name), name, whose)
    return Permit(spec, code)


def _check_known(spec: str, code: Code, made: str) -> None:
    place = spec.rpartition(":")[0]
    if place.endswith(".py") and not os.path.isfile(place):
        raise Untrusted(f"{made}, and there is no such file here", there=False)
    if not code:
        raise Untrusted(f"{made}, and its record does not say what stood in that code")
    if not _known(spec, code).is_file():
        raise Untrusted(f"{made}, which is code that this machine has not trained with")
    compiled = [name for name in code if not name.endswith(".py") and not name.startswith(INSTALLED)]
    if compiled:
        raise Untrusted(f"{made}, which imports {compiled[0]}, and without source that cannot be run as it was checked")


def _changed(path: Path | None, name: str, whose: str) -> Untrusted:
    if path is None or not path.is_file():
        return Untrusted(f"{path or name}, which {whose} was trained with, is not there")
    return Untrusted(
        f"{path} is not what {whose} was trained with: its content is another, and the network may be; put the old "
        "file back"
    )


def concerning(spec: str, trust: bool | str) -> bool | str:
    """Of what is trusted, what is about this model of several: a factory is for the runs of one's own code.

    Raises:
        InputError: `spec` looks like a run and cannot be read.
    """
    if not isinstance(trust, str):
        return trust
    return trust if means_run(spec) and is_own_code(resolve(spec)[0].info["model"]["spec"]) else False


def remember(spec: str, code: Code) -> None:
    """This machine trains with this code: from now on runs of it are opened without a question."""
    path = _known(spec, code)
    if code and not path.is_file():
        write_json(path, {"factory": spec.rpartition(":")[2], "code": dict(code)})


def _known(spec: str, code: Code) -> Path:
    place, _, factory = spec.rpartition(":")
    # Without its folder: the same code in another place is the same. Another file or factory of it is not.
    about = json.dumps([Path(place).name if place.endswith(".py") else place, factory, sorted(code.items())])
    return user_folder() / "trusted" / f"{hashlib.sha256(about.encode('utf-8', 'surrogatepass')).hexdigest()}.json"


def root_of(spec: str) -> Path:
    """The folder that the modules of a factory are imported from, if they are not installed."""
    place = spec.rpartition(":")[0]
    return Path(place).resolve().parent if place.endswith(".py") else Path.cwd()


def locate(spec: str, name: str) -> Path | None:
    """The file that a name in a network's code stands for; None for a module that is not installed."""
    if name.startswith(INSTALLED):
        return installed_file(name.removeprefix(INSTALLED))
    return root_of(spec) / name


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
