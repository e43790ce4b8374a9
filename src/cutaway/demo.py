"""The demonstration: one call from nothing to a trained network laid open."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cutaway.data import Dataset, load_data
from cutaway.errors import InputError
from cutaway.report import write_page
from cutaway.training import Watcher, evaluate, train

_PACKAGE = "dataset-fashion-mnist"
_MINUTE = {"fashion-mnist": 1, "shapes": 4}


def run_demo(
    runs: str | Path = "runs", *, data: str | None = None, epochs: int | None = None, watch: Watcher | None = None
) -> tuple[Path, dict[str, Any]]:
    """Train a ResNet-18 for about a minute, measure it on the test split and write its page.

    Args:
        runs: the folder that gets the run.
        data: a data set; by default Fashion-MNIST from wherever it can be had, else `shapes`.
        epochs: passes over the data; by default what takes about a minute on two cores.
        watch: hears of progress.

    Returns:
        The page's path and what `evaluate` gave for the test split.
    """
    watch = watch or Watcher()
    dataset = load_data(data, progress=watch.work) if data else _demo_data(watch)
    chosen = {"epochs": epochs or _MINUTE.get(dataset.name, 1)}
    run = train(dataset, "resnet18", recipe=chosen, runs=runs, watch=watch)
    result = evaluate(run.folder.path, data=dataset, watch=watch)
    return write_page(run.folder), result


def _demo_data(watch: Watcher) -> Dataset:
    """Fashion-MNIST as it is found or downloaded, from Debian's package, or `shapes`; says which."""
    try:
        return load_data("fashion-mnist", progress=watch.work)
    except InputError as error:
        watch.note(str(error))
    if _install_package(watch):
        return load_data("fashion-mnist", progress=watch.work)
    watch.note("Fashion-MNIST cannot be had here: the demonstration uses the built-in shapes instead")
    return load_data("shapes", progress=watch.work)


def _install_package(watch: Watcher) -> bool:
    """Whether Debian's package could be installed; tried only where it needs no password."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    watch.note(f"installing Debian's package {_PACKAGE} instead")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", _PACKAGE]):
        try:
            done = subprocess.run(command, capture_output=True, timeout=180, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            watch.note(f"{command[0]} did not work: {error}")
            return False
    return done.returncode == 0
