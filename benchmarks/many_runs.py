"""How long a folder of many long runs takes to list, and the page of one to read.

The runs are made of records alone (45 lines of steps and one of an epoch for each epoch, as a training writes them);
listing reads run.json, the epochs of metrics.jsonl and the evaluation of each.

    python benchmarks/many_runs.py --runs 200 --epochs 200
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cutaway.runs import Run, RunFolder, append_lines, list_runs
from cutaway.views.run import run_row
from cutaway.views.runs import list_lines, view_record

CLASSES = [f"class {number}" for number in range(10)]
STEPS = 45  # lines about steps in an epoch


def info() -> dict[str, Any]:
    """`run.json`."""
    splits = {name: {"size": size, "fingerprint": name} for name, size in (("train", 55_000), ("val", 5_000))}
    data = {"source": "photos", "name": "photos", "classes": CLASSES, "splits": splits, "quarantine": [], "notes": []}
    model = {"spec": "resnet18", "options": {}, "classes": CLASSES, "preprocessing": None}
    return {
        "status": "training",
        "data": data,
        "model": model,
        "recipe": {"epochs": 200},
        "plan": {},
        "environment": {},
    }


def make(path: Path, epochs: int) -> Run:
    """A finished run."""
    folder = RunFolder(path)
    folder.create(info())
    lines: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        for step in range(1, STEPS + 1):
            done = (epoch - 1) * STEPS + step
            lines.append(
                {"kind": "step", "epoch": epoch, "step": 10 * done, "samples": 1280 * done, "loss": 2.3 / epoch}
                | {"accuracy": 0.5, "lr": 0.1, "images_per_second": 812.0}
            )
        lines.append(
            {"kind": "epoch", "epoch": epoch, "step": 10 * epoch * STEPS, "samples": 1280 * epoch * STEPS}
            | {"seconds": 60.0 * epoch, "train_loss": 2.0 / epoch, "train_accuracy": 0.7, "val_loss": 2.1 / epoch}
            | {"val_accuracy": 0.9 - 1 / (epoch + 2), "lr": 0.1}
        )
    append_lines(folder.metrics, lines)
    folder.update(status="finished")
    return Run(folder)


def timed(work: Callable[[], object], rounds: int) -> str:
    """Median and range in seconds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, {rounds} rounds)"


def main() -> None:
    """Make, list, read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [make(Path(folder, f"run-{number}"), arguments.epochs) for number in range(arguments.runs)]
        print("`cutaway runs`:", timed(lambda: [run_row(run) for run in list_runs(folder)], arguments.rounds))
        print("the start page's lines:", timed(lambda: list_lines(runs), arguments.rounds))
        print("one run's page:", timed(lambda: view_record(runs[0]), arguments.rounds))
        print("one run's card:", timed(lambda: runs[0].card(), arguments.rounds))
        print("best_epoch:", timed(lambda: runs[0].best_epoch, arguments.rounds))


if __name__ == "__main__":
    main()
