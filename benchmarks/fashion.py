"""Cutaway against the plain script of experiment 3, in one sitting.

Runs, in turn: the plain 5-epoch script; `cutaway train fashion-mnist --model resnet18 --epochs 1`; the same with no
option. Each Cutaway figure is whole-process wall time from an empty cache, with validation, vitals,
snapshots, checkpoints and pages included: of `train`, and of `train` and the separate `evaluate` together. The plain
script's time includes its own test. Prints seconds, test accuracies and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent


def cutaway(*words: str, cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "cutaway", *words, "--json"]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "CUTAWAY_CACHE": str(cache)}
    )
    return dict(json.loads(done.stdout))


def train_and_evaluate(epochs: int | None) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        options = ["--epochs", str(epochs)] if epochs else []
        start = time.perf_counter()
        run = cutaway(
            "train", "fashion-mnist", "--model", "resnet18", "--runs", folder, *options, cache=Path(folder, "c")
        )
        trained = time.perf_counter() - start
        result = cutaway("evaluate", run["run"], cache=Path(folder, "c"))
        return trained, time.perf_counter() - start, result["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick-epochs", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for number in range(arguments.rounds):
        plain = json.loads(subprocess.check_output([sys.executable, str(HERE / "plain_fashion.py")], text=True))
        print(f"round {number + 1}")
        print(f"  plain script   {plain['seconds']:6.1f} s  {plain['accuracy']:.2%}", flush=True)
        for name, epochs in ((f"--epochs {arguments.quick_epochs}", arguments.quick_epochs), ("cutaway train", None)):
            trained, both, accuracy = train_and_evaluate(epochs)
            whole = plain["seconds"]
            print(
                f"  {name:13}  {trained:6.1f} s  {accuracy:.2%}  {trained / whole:.3f} of the plain time "
                f"({both:.1f} s and {both / whole:.3f} with evaluate)",
                flush=True,
            )


if __name__ == "__main__":
    main()
