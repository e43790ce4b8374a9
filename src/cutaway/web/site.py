"""What this server shows: a folder of runs, the models named at its start, and what it keeps in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError
from cutaway.plain import is_name, short
from cutaway.runs import Run, RunFolder, is_run, open_run
from cutaway.web.memory import Memory

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.scope import Scope

HIDDEN = ".microscope"  # beside the runs: uploads, jobs, results about models
_SCOPES = 12  # networks in memory: an epoch each
_BYTES = 512e6  # of arrays and pictures


@dataclass(frozen=True)
class Named:
    """A model without a run: what `load_model` takes, and the weights and data that were named with it."""

    spec: str
    weights: str | None = None
    data: str | None = None

    @property
    def name(self) -> str:
        """Fit for an address: a file's factory goes without its folder."""
        return self.spec.replace("\\", "/").rpartition("/")[2] if "/" in self.spec else self.spec


@dataclass(frozen=True, eq=False)
class Site:
    """A folder of runs and some models, and what was loaded of them.

    Attributes:
        folder: holds the runs; nothing outside it is shown or written.
        models: by the name in their address.
        trust: whether the code that runs name may run.
    """

    folder: Path
    models: Mapping[str, Named] = field(default_factory=dict)
    trust: bool = False
    scopes: Memory = field(default_factory=lambda: Memory(_SCOPES))
    datasets: Memory = field(default_factory=lambda: Memory(4))
    values: Memory = field(default_factory=lambda: Memory(_BYTES, _weight))

    def run(self, name: str) -> Run:
        """The run of that name in the folder.

        Raises:
            InputError: there is none, or the name leads out of the folder.
        """
        path = self.folder / name
        if not is_name(name) or not self.holds(path):
            raise InputError(f"there is no run '{short(name)}' in {self.folder}")
        return open_run(path)

    def has_run(self, name: str) -> bool:
        """Whether there is a run of that name in the folder."""
        return is_name(name) and is_run(self.folder / name)

    def holds(self, path: Path) -> bool:
        """Whether a path, its links followed, lies inside the folder."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))

    def runs(self) -> list[Run]:
        """All runs, also damaged ones, newest folder first."""
        found = [path.parent for path in self.folder.glob("*/run.json") if self.holds(path)]
        return [Run(RunFolder(path)) for path in sorted(found, key=_changed, reverse=True)]

    def scope(self, spec: str, weights: str | None, stamp: object) -> Scope:
        """The microscope over a model, loaded once for each `stamp` of its weights."""

        def load() -> Scope:
            from cutaway.scope import Scope

            with self.naming_the_way():
                return Scope(spec, weights=weights, trust=self.trust)

        found: Scope = self.scopes.get((spec, weights, stamp), load)
        return found

    @contextmanager
    def naming_the_way(self) -> Iterator[None]:
        """A block in which code that is not run says how it is run here: by starting the server anew."""
        from cutaway.models.trust import Untrusted

        try:
            yield
        except Untrusted as error:
            command = f"cutaway serve {quote(str(self.folder))} --trust"
            raise error.instead(f"look at it, then start `{command}`") from error

    def data_of(self, run: Run) -> Dataset:
        """The data of a run, loaded once; never fetched from a network, and no other than it was trained on."""
        record = run.info["data"]
        key = (record["source"], repr(sorted(record.get("options", {}).items())), record.get("fingerprint"))

        def load() -> Dataset:
            from cutaway.data import load_recorded

            return load_recorded(run, download=False)

        found: Dataset = self.datasets.get(key, load)
        return found

    def dataset(self, source: str, options: Mapping[str, Any]) -> Dataset:
        """A data set, loaded once; never fetched from a network."""

        def load() -> Dataset:
            from cutaway.data import load_data

            return load_data(source, **{**options, "download": False})

        found: Dataset = self.datasets.get((source, repr(sorted(options.items()))), load)
        return found


def _changed(path: Path) -> float:
    try:
        return os.stat(path / "run.json").st_mtime
    except OSError:  # it has gone meanwhile
        return 0.0


def _weight(value: Any) -> float:
    """The bytes that a value takes: of an array, of a picture, or of all in a tuple."""
    if isinstance(value, (tuple, list)):
        return sum(map(_weight, value))
    if isinstance(value, dict):
        return sum(map(_weight, value.values()))
    size = getattr(value, "nbytes", None)
    return float(size if size is not None else len(value) if isinstance(value, (bytes, str)) else 256)
