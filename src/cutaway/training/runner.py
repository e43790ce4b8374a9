"""Training from outside: start a run, or continue one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.models import Model
from cutaway.runs import Run, is_run
from cutaway.training.fit import Diverged, Interrupted, fit
from cutaway.training.session import Session, continued_session, new_session, only_trainer
from cutaway.training.snapshots import remove_snapshots_after
from cutaway.training.stopping import listening
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
        Interrupted: Ctrl-C or SIGTERM; `resume` continues exactly.

    Example: `train("shapes", "resnet18", recipe={"epochs": 3})`.
    """
    watch = watch or Watcher()
    if name and is_run(Path(runs) / name):
        raise InputError(f"{Path(runs) / name} exists already; choose another name or `cutaway resume` it")
    session = new_session(
        data,
        model,
        recipe=recipe or {},
        folder=Path(runs),
        name=name,
        device=device,
        data_options=data_options or {},
        model_options=model_options or {},
        watch=watch,
    )
    return _run(session, watch)


def resume(
    path: str | Path, *, data: Dataset | None = None, model: Model | None = None, watch: Watcher | None = None
) -> Run:
    """Continue an interrupted run; on the same machine and threads the weights become bit-identical to a run that
    was never interrupted.

    Args:
        path: the run folder.
        data, model: only for runs whose data set or network was made in Python and cannot be loaded by name.
        watch: hears of progress.

    Raises:
        InputError: no run there, other data, a state of another architecture, or a run another process trains.
    """
    watch = watch or Watcher()
    session = continued_session(path, data, model, watch)
    remove_snapshots_after(session, session.progress.epoch)
    return _run(session, watch)


def _run(session: Session, watch: Watcher) -> Run:
    """Train under the run's lock and keep its status true."""
    run = Run(session.folder)
    with only_trainer(run), listening() as stop:
        session.folder.update(status="training")
        try:
            fit(session, watch, stop)
        except Interrupted:
            session.folder.update(status="interrupted")
            raise
        except Diverged as error:
            session.folder.update(status="diverged", problem=str(error))
            raise
        session.folder.update(status="finished")
    return run
