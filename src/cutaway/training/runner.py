"""Training from outside: start a run, or continue one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.files import Unwritten
from cutaway.models import Model
from cutaway.models.trust import remember
from cutaway.runs import Run, need_unborn, new_run, only_trainer, open_run
from cutaway.training.fit import Diverged, Interrupted, fit
from cutaway.training.precision import repeatable
from cutaway.training.session import Session, continued_session, new_wish
from cutaway.training.snapshots import remove_snapshots_after
from cutaway.training.stopping import StopRequest, listening
from cutaway.training.watcher import Watcher


def train(
    data: Dataset | str | Path,
    model: Model | str,
    *,
    recipe: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    device: str = "auto",
    data_options: Mapping[str, Any] | None = None,
    model_options: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
) -> Run:
    """Train a network and leave a run folder.

    Args:
        data: a data set or its name: "fashion-mnist", "shapes", a folder (see `load_data`).
        model: a model or its spec: "resnet18", "torchvision:resnet50", "net.py:make" (see `load_model`).
        recipe: keys of `Recipe` that differ from the package's recipe for this data and model.
        runs: the folder that gets the run.
        name: the run's name; by default data-model-1, -2, ...
        device: "auto", "cpu", "cuda", "mps".
        data_options: passed on to `load_data`.
        model_options: passed on to `load_model`: weights, freeze.
        watch: hears of progress; silent by default.

    Raises:
        InputError: bad input, before anything is written.
        Diverged: the loss is not finite; the run can be inspected and resumed with another recipe.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; `resume` continues exactly.

    Example: `train("shapes", "resnet18", recipe={"epochs": 3})`.
    """
    watch = watch or Watcher()
    if name:
        need_unborn(Path(runs) / name)  # told before the long work
    with repeatable():
        wish = new_wish(
            data,
            model,
            recipe=recipe or {},
            device=device,
            data_options=data_options or {},
            model_options=model_options or {},
            watch=watch,
        )
        with listening() as stop, new_run(Path(runs), name, wish.stem) as folder:
            return _run(wish.begin(folder), watch, stop)


def resume(
    path: str | Path,
    *,
    data: Dataset | None = None,
    model: Model | None = None,
    trust: bool | str = False,
    watch: Watcher | None = None,
) -> Run:
    """Continue an interrupted run; on the same machine and threads the weights become bit-identical to a run that
    was never interrupted.

    Args:
        path: the run folder.
        data, model: only for runs whose data set or network was made in Python and cannot be loaded by name.
        trust: whether code that this machine has not trained with may run; see `load_model`.
        watch: hears of progress.

    Raises:
        InputError: no run there, other data, a state of another architecture, or a run another process trains.
    """
    watch = watch or Watcher()
    run = open_run(path)
    if run.info.get("watched"):
        raise InputError(f"{path} is the record of a loop that is not Cutaway's; run that loop again to continue")
    # Before anything is cleaned, cut or read: all of it may be in the hands of somebody who trains it now.
    with only_trainer(run.folder), repeatable(run.info["environment"].get("threads")):
        session = continued_session(run, data, model, trust, watch)
        remove_snapshots_after(session, session.progress.epoch)
        with listening() as stop:
            return _run(session, watch, stop)


def _run(session: Session, watch: Watcher, stop: StopRequest) -> Run:
    """Train, and keep the run's status true; the caller holds its lock."""
    folder = session.folder
    _remember(session, watch)
    with _resumable(folder.path):
        folder.update(status="training")
        try:
            fit(session, watch, stop)
        except Diverged as error:
            folder.update(status="diverged", problem=str(error))
            raise
        except BaseException as error:
            if isinstance(error, Interrupted):
                error.number = stop.number
            with suppress(Unwritten):  # on a full disk the lock tells it, which nobody holds any more
                folder.update(status="interrupted")
            raise
        folder.update(status="finished")
    return Run(folder)


def _remember(session: Session, watch: Watcher) -> None:
    """From now on this machine knows the network's code; where it may not write that down, it is told."""
    try:
        remember(session.model.spec, session.model.code)
    except Unwritten as error:
        watch.note(f"{error.path} cannot be written, so this run's own code will need --trust to be opened again")


@contextmanager
def _resumable(path: Path) -> Iterator[None]:
    """Tell the way out of a full or read-only disk once there is a run: to go on, not to begin again."""
    try:
        yield
    except Unwritten as error:
        room = "free some space" if error.full else "make it writable or copy the run to where it is"
        raise Unwritten(error.path, error.full, f"{room}, then `cutaway resume {quote(str(path))}` goes on") from error
