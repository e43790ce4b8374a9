"""Importing a network's own modules: from source alone, each noted with its hash, or none but those that are known.

Python's own import would run `__pycache__/net.cpython-311.pyc` instead of `net.py` where the dates in it fit, which
whoever packs a folder can arrange; and any file beside a factory could stand for a module of the standard library. So
what lies beside a factory is found, read, hashed and compiled here.
"""

from __future__ import annotations

import hashlib
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes
from cutaway.models.trust import MOST_SOURCE, Code, digest_of

_SUFFIXES = (*EXTENSION_SUFFIXES, ".py", *BYTECODE_SUFFIXES)  # in Python's order
_OURS = object()  # marks modules that were found here
_found: set[str] = set()  # their names
# What is imported is the process's: two at once would find each other's modules.
_one_at_a_time = threading.RLock()
_depth = 0


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

    def get_data(self, path: str) -> bytes:
        """A file beside the module, for `pkgutil.get_data`."""
        return Path(path).read_bytes()


class Finder(MetaPathFinder):
    """Finds a network's own modules: those below a folder, and below those that its code puts on the path.

    Args:
        root: the folder.
        known: the files that may run, with their hashes; None for any.
    """

    def __init__(self, root: Path, known: Code | None) -> None:
        self.root, self.known = root, known
        self.ran: dict[str, str] = {}
        self.hidden: dict[str, Path] = {}
        self._names: set[str] = set()
        self._installed: list[str] = []
        self._is_site = root in _site_folders()

    @contextmanager
    def importing(self) -> Iterator[None]:
        """The block in which the network's own modules can be imported."""
        with _one_at_a_time, self._within(), self._fresh():
            before = list(sys.path)
            self._installed = [one for one in before if Path(one or ".").resolve() != self.root]
            # Without a list of what may run also data beside the modules.
            sys.path[:] = [*([str(self.root)] if self.known is None else []), *self._installed]
            sys.meta_path.insert(_after_builtins(), self)
            try:
                yield
            finally:
                sys.meta_path.remove(self)
                sys.path[:] = before

    @contextmanager
    def _within(self) -> Iterator[None]:
        """Where a factory loads another network: that one's code is part of its own, known or noted with it."""
        outer = next((finder for finder in sys.meta_path if isinstance(finder, Finder)), None)
        if outer is None:
            yield
            return
        if self.known is None and outer.known is not None:
            self.known = {self._place(outer.root / name): digest for name, digest in outer.known.items()}
        sys.meta_path.remove(outer)
        try:
            yield
        finally:
            sys.meta_path.insert(_after_builtins(), outer)
            outer.ran |= {outer._place(self.root / name): digest for name, digest in self.ran.items()}

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Without the modules of other networks, and those that this process has imported from the folder by itself.

        They may have the same names, or be another state of the files; and what is imported already is not noted.
        """
        global _depth
        others = {name: sys.modules[name] for name in _found & sys.modules.keys() if _is_ours(sys.modules[name])}
        own = {name: sys.modules[name] for name in self._local()}
        for name in {**others, **own}:
            del sys.modules[name]
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            # A factory that loads another network goes on with its own modules.
            sys.modules.update({**others, **own} if _depth else own)

    def _local(self) -> Iterator[str]:
        """The modules that the process has imported from the folder by itself."""
        start = str(self.root)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or not file.startswith(start) or self._is_site or _is_ours(module):
                continue
            base = self.root.joinpath(*name.split("."))
            is_one = file in (f"{base}.py", str(base / "__init__.py"))
            if is_one and name.partition(".")[0] not in ("cutaway", "__main__"):
                yield name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if it is the network's own; None leaves it to the other finders.

        Raises:
            ModuleNotFoundError: only known files may run, and this is none of them, nor installed.
        """
        parent = fullname.rpartition(".")[0]
        if parent and parent not in self._names:
            return None
        found = self._inside(fullname, map(Path, path or ())) if parent else self._on_path(fullname)
        if found is not None:
            self._names.add(fullname)
            _found.add(fullname)
            return found
        if self.known is None:
            return None
        return _not_found(fullname) if parent else self._elsewhere(fullname, target)

    def _on_path(self, fullname: str) -> ModuleSpec | None:
        """At the root, and where the network's code has put folders on the path: before or behind what is installed."""
        if self._is_site:
            return None
        places = [(place, one) for place, one in enumerate(sys.path) if one not in self._installed]
        border = min((place for place, one in enumerate(sys.path) if one in self._installed), default=len(sys.path))
        before = dict.fromkeys([*(Path(one).resolve() for place, one in places if place < border), self.root])
        behind = [Path(one).resolve() for place, one in places if place > border]
        found = self._inside(fullname, before)
        if found is None and behind and PathFinder.find_spec(fullname, self._installed) is None:
            found = self._inside(fullname, behind)
        return found

    def _inside(self, fullname: str, folders: Iterable[Path]) -> ModuleSpec | None:
        for folder in folders:
            base = folder / fullname.rpartition(".")[2]
            files = [f"{start}{suffix}" for start in (base / "__init__", base) for suffix in _SUFFIXES]
            for file in map(Path, files):
                if file.is_file() and self._may_run(fullname, file):
                    return self.of_file(fullname, file) if file.suffix == ".py" else self._of_compiled(fullname, file)
            if base.is_dir() and self._is_namespace(fullname, base):
                return _namespace(fullname, base)
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
        return _marked(found)

    def _of_compiled(self, fullname: str, file: Path) -> ModuleSpec:
        """A module without source, which the system loads from the file itself: noted, and never run unasked."""
        self.ran[self._place(file)] = digest_of(file)
        found = spec_from_file_location(fullname, file)
        assert found is not None
        return _marked(found)

    def _place(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.root)).as_posix()

    def _may_run(self, fullname: str, file: Path) -> bool:
        if self.known is None:
            return True
        if self._place(file) in self.known and file.suffix == ".py":
            return True
        self.hidden.setdefault(fullname, file)
        return False

    def _is_namespace(self, fullname: str, folder: Path) -> bool:
        """Whether a folder without `__init__.py` is a package: as for Python, if nothing installed has the name."""
        if self.known is not None:
            return any(name.startswith(f"{self._place(folder)}/") for name in self.known)
        return "." in fullname or PathFinder.find_spec(fullname, self._installed) is None

    def _elsewhere(self, fullname: str, target: ModuleType | None) -> ModuleSpec:
        """As the finders after this one have it, without what the network's code has put on the path."""
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            found = finder.find_spec(fullname, self._installed if finder is PathFinder else None, target)
            if found is not None:
                return found
        return _not_found(fullname)


def _namespace(fullname: str, folder: Path) -> ModuleSpec:
    found = ModuleSpec(fullname, None, is_package=True)
    found.submodule_search_locations = [str(folder)]
    return _marked(found)


def _marked(found: ModuleSpec) -> ModuleSpec:
    found.loader_state = _OURS
    return found


def _not_found(fullname: str) -> ModuleSpec:
    raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@cache
def _site_folders() -> set[Path]:
    """Where packages are installed: what lies there is nobody's own, even for who stands there."""
    names = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return {Path(name).resolve() for name in names}


def _is_ours(module: Any) -> bool:
    return getattr(getattr(module, "__spec__", None), "loader_state", None) is _OURS


def _after_builtins() -> int:
    """The place before the finder of the path: built-in and frozen modules keep coming first, as with a path."""
    places = [index for index, finder in enumerate(sys.meta_path) if finder is PathFinder]
    return places[0] if places else len(sys.meta_path)
