"""Kill a training process at random moments and compare what it ends with to a run that was never killed.

Each round starts a run, kills its process with SIGKILL at a random moment between the first step and the end, resumes
it to its end, and compares every saved tensor bit for bit and every log line but for the clocks. The state is written
all the time, so many kills strike while a file is half written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cutaway.runs import Run, open_run

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, num_classes),
    )
"""
OPTIONS = [
    "--size",
    "16",
    "--epochs",
    "3",
    "--set",
    "save_every=0.02",
    "--set",
    "ema=0.9",
    "--set",
    "shift=2",
    "--set",
    "flip=random",
]


def train(data: Path, spec: str, runs: Path, name: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "cutaway",
        "train",
        str(data),
        "--model",
        spec,
        "--runs",
        str(runs),
        "--run",
        name,
        *OPTIONS,
    ]


def resume(run: Path) -> list[str]:
    return [sys.executable, "-m", "cutaway", "resume", str(run)]


def run_to_end(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def kill_at_random(command: list[str], run: Path, longest: float, generator: random.Random) -> bool:
    """Start `command` and kill it; whether it was still running."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(generator.uniform(0, longest))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def lines(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in run.metrics()]


def identical(a: Run, b: Run) -> bool:
    if a.epochs != b.epochs or lines(a) != lines(b) or a.vitals() != b.vitals():
        return False
    for epoch in a.epochs:
        first, second = load_file(a.weights(epoch)), load_file(b.weights(epoch))
        if first.keys() != second.keys() or not all(torch.equal(first[name], second[name]) for name in first):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        runs, spec = Path(folder), f"{folder}/net.py:make"
        Path(folder, "net.py").write_text(NETWORK)
        os.environ["CUTAWAY_CACHE"] = f"{folder}/cache"
        start = time.monotonic()
        run_to_end(train(Path("shapes"), spec, runs, "whole"))
        whole = open_run(runs / "whole")
        length = float(whole.metrics("epoch")[-1]["seconds"])
        killed = exact = 0
        while killed < arguments.kills:
            run = runs / "killed"
            shutil.rmtree(run, ignore_errors=True)
            if not kill_at_random(train(Path("shapes"), spec, runs, "killed"), run, length, generator):
                continue
            killed += 1
            step = len(list(open_run(run).metrics("step")))
            run_to_end(resume(run))
            same = identical(open_run(run), whole)
            exact += same
            print(json.dumps({"kill": killed, "after_logged_steps": step, "exact": same}), flush=True)
        left = [str(path) for path in runs.rglob("*.tmp")]
    print(f"{killed} kills, {exact} exact continuations, {len(left)} leftover files, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
