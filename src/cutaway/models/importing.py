"""Importing a network's own modules: from source alone, each noted with its hash, or none but those that are known.

Python's own import would run `__pycache__/net.cpython-311.pyc` instead of `net.py` where the dates in it fit, which
whoever packs a folder can arrange; and any file beside a factory could stand for a module of the standard library. So
what lies beside a factory is found, read, hashed and compiled here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes
from cutaway.models.trust import MOST_SOURCE, Code


class Source(Loader):
    """Executes a module from the bytes that were read, and hashed, when it was found."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As usual."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Compile and run; nothing is taken from a cache, and none is left."""
        code: CodeType = compile(self.content, str(self.path), "exec", dont_inherit=True)
        exec(code, vars(module))


class Finder(MetaPathFinder):
    """Finds modules below a folder.

    Args:
        root: the folder.
        known: the files that may run, with their hashes; None for any.
    """

    def __init__(self, root: Path, known: Code | None) -> None:
        self.root, self.known = root, known
        self.ran: dict[str, str] = {}

    @contextmanager
    def importing(self) -> Iterator[None]:
        """The block in which the modules below the folder can be imported."""
        # A module of another network may have the same name, and what is imported already would not be noted.
        for name in [name for name, module in sys.modules.items() if _is_ours(module)]:
            del sys.modules[name]
        sys.meta_path.insert(_after_builtins(), self)
        before = list(sys.path)
        # Without a list of what may run also what is no source: extension modules, and data beside them.
        first = [str(self.root)] if self.known is None else []
        sys.path[:] = first + [one for one in before if Path(one or ".").resolve() != self.root]
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            sys.path[:] = before

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if its source is below the folder; None leaves it to the other finders."""
        folders = [self.root] if path is None else [Path(folder) for folder in path if self._holds(Path(folder))]
        name = fullname.rpartition(".")[2]
        for folder in folders:
            for file in (folder / name / "__init__.py", folder / f"{name}.py"):
                if file.is_file() and self._may_run(file):
                    return self.of_file(fullname, file)
            if (folder / name).is_dir() and self._is_namespace(fullname, folder / name, path):
                return _namespace(fullname, folder / name)
        return None

    def of_file(self, fullname: str, file: Path) -> ModuleSpec:
        """The description of a module whose source is read now, and noted.

        Raises:
            InputError: it cannot be read, or is not what it was.
        """
        try:
            content = read_bytes(file, MOST_SOURCE)
        except Unreadable as error:
            raise InputError(f"{file} cannot be imported: {error}") from error
        digest, place = hashlib.sha256(content).hexdigest(), self._place(file)
        if self.known is not None and self.known.get(place) != digest:
            raise InputError(f"{file} is not what the network was trained with, and was not run")
        self.ran[place] = digest
        inner = [str(file.parent)] if file.name == "__init__.py" else None
        found = spec_from_file_location(fullname, file, loader=Source(file, content), submodule_search_locations=inner)
        if found is None:
            raise InputError(f"{file} cannot be imported as Python")
        found.cached = None
        return found

    def _place(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _holds(self, folder: Path) -> bool:
        return folder == self.root or self.root in folder.parents

    def _may_run(self, file: Path) -> bool:
        return self.known is None or self._place(file) in self.known

    def _is_namespace(self, fullname: str, folder: Path, path: Sequence[str] | None) -> bool:
        """Whether a folder without `__init__.py` is a package: if nothing installed has the name."""
        if self.known is not None:
            place = self._place(folder)
            return any(name.startswith(f"{place}/") for name in self.known)
        inside = any(folder.glob("*.py"))
        return inside and (path is not None or PathFinder.find_spec(fullname, sys.path[1:]) is None)


def _namespace(fullname: str, folder: Path) -> ModuleSpec:
    found = ModuleSpec(fullname, None, is_package=True)
    found.submodule_search_locations = [str(folder)]
    return found


def _is_ours(module: Any) -> bool:
    return isinstance(getattr(getattr(module, "__spec__", None), "loader", None), Source)


def _after_builtins() -> int:
    """The place before the finder of the path: built-in and frozen modules keep coming first, as with a path."""
    places = [index for index, finder in enumerate(sys.meta_path) if finder is PathFinder]
    return places[0] if places else len(sys.meta_path)
