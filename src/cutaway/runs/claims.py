"""Making run folders so that of two who want the same one only one has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from cutaway.errors import InputError
from cutaway.files import alone, explain_disk_errors, make_folder, remove_leftovers
from cutaway.runs.folder import RunFolder
from cutaway.runs.record import new_run_path

# What a training that ended before its first state can have left; leftovers of killed writers may lie beside it.
_UNBORN = {".lock", "run.json", "findings.json", "checkpoints"}


@contextmanager
def only_trainer(folder: RunFolder) -> Iterator[None]:
    """Hold the run's lock; a run that another process is training is an `InputError`."""
    with alone(folder.path, f"{folder.path} is being trained by another process; wait for it or stop it"):
        yield


@contextmanager
def new_run(parent: Path, name: str | None, stem: str) -> Iterator[RunFolder]:
    """An empty run folder, locked for the block; one that is left without a state is removed.

    Args:
        parent: the folder of runs.
        name: the run's name. A folder of that name that was left before its first state is taken over.
        stem: without a name, the first free `stem-N` is taken.

    Raises:
        InputError: the name is taken, or another process is training it.
    """
    folder = RunFolder(_made(parent / name) if name else claim_run_path(parent, stem))
    with only_trainer(folder):
        need_unborn(folder.path)
        _empty(folder)
        try:
            yield folder
        except BaseException:
            with suppress(OSError):  # what cannot be removed is taken over by whoever wants the name next
                _remove_unborn(folder)
            raise


def claim_run_path(parent: Path, stem: str) -> Path:
    """The first free `parent/stem-N`, made now, so that nobody else is given it."""
    with explain_disk_errors(parent):
        make_folder(parent)
        while True:
            path = new_run_path(parent, stem)
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another process was quicker
            return path


def is_unborn(path: Path) -> bool:
    """Whether a folder holds no more than a training can leave before its first state is saved."""
    return path.is_dir() and all(_is_early(file) for file in path.iterdir())


def _is_early(file: Path) -> bool:
    if file.name == "checkpoints" and file.is_dir():
        return all(_is_leftover(inner) for inner in file.iterdir())
    return file.name in _UNBORN or _is_leftover(file)


def _is_leftover(file: Path) -> bool:
    return file.name.startswith(".") and file.name.endswith(".tmp")


def need_unborn(path: Path) -> None:
    """An `InputError` if `path` is a run, or anything else that a new run may not take."""
    if path.exists() and not is_unborn(path):
        if not (path / "run.json").is_file():
            raise InputError(f"{path} exists already and is no run; choose another --run")
        raise InputError(
            f"{path} exists already; choose another --run, or `cutaway resume {quote(str(path))}` continues it"
        )


def _made(path: Path) -> Path:
    with explain_disk_errors(path):
        try:
            make_folder(path.parent)
            path.mkdir()
        except FileExistsError:
            need_unborn(path)  # before its lock, which would be a new file in a folder that is no run
    return path


def _remove_unborn(folder: RunFolder) -> None:
    if is_unborn(folder.path):
        _empty(folder)
        (folder.path / ".lock").unlink(missing_ok=True)
        folder.path.rmdir()


def _empty(folder: RunFolder) -> None:
    remove_leftovers(folder.path)
    for file in (folder.run_json, folder.findings):
        file.unlink(missing_ok=True)
    if folder.checkpoints.is_dir():
        folder.checkpoints.rmdir()
