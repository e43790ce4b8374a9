"""The plain VGG-16 with a ReLU after its last layer, stuck at ln 10: when it is named, and what `--try` finds.

python benchmarks/stuck_vgg.py CIFAR_FOLDER --out runs/stuck
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import time
from pathlib import Path

import torch
from torch import nn

from cutaway.doctor import Trial, diagnose, try_remedies
from cutaway.models.vgg import VGG
from cutaway.runs import RunFolder
from cutaway.training import Interrupted, Watcher, train

# As the write-up had it: no warm-up, schedule, decay, averaging or augmentation, and torch's initialisation.
RECIPE = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 32,
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "ema": 0.0,
    "flip": "none",
    "shift": 0,
    "clip": 0.0,
    "initialisation": "default",
}
_STEPS = 200


def last_relu(num_classes: int, in_channels: int) -> nn.Module:
    """13 convolutions, the 512-100-100-10 head, no batch norm, and the ReLU that should not be there."""
    network = VGG(16, (in_channels, 32, 32), num_classes, False, None)
    network.classifier.append(nn.ReLU(inplace=True))
    return network


class FirstSteps(Watcher):
    """Stops after some steps, and asks the doctor at every check-up."""

    def __init__(self) -> None:
        self.steps = 0
        self.named: dict[str, int] = {}

    def step(self, loss: float, accuracy: float) -> None:
        self.steps += 1

    def enough(self) -> bool:
        return self.steps >= _STEPS

    def checkup(self, folder: RunFolder) -> None:
        for finding in diagnose(folder.path):
            if finding.severity == "error" and finding.rule not in self.named:
                self.named[finding.rule] = self.steps
                print(f"step {self.steps}: {finding.title} [{finding.rule}]", flush=True)


def tell(trial: Trial) -> None:
    print(f"{trial.remedy}: loss {trial.loss} after {trial.steps} steps {trial.problem}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="cifar10, or a folder of its images")
    parser.add_argument("--out", type=Path, default=Path("runs/stuck"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shutil.rmtree(options.out, ignore_errors=True)
    with contextlib.suppress(Interrupted):
        train(
            options.cifar,
            f"{Path(__file__).resolve()}:last_relu",
            recipe=RECIPE,
            runs=options.out,
            name="run",
            watch=FirstSteps(),
        )
    start = time.monotonic()
    trials = try_remedies(options.out / "run", tell=tell)
    print(f"tried in {time.monotonic() - start:.0f} s; best first:")
    for trial in trials:
        tell(trial)


if __name__ == "__main__":
    main()
