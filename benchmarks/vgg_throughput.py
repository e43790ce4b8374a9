"""Images per second of `cutaway train --model vgg16` against the plain loop of experiment 1, in turn.

The plain loop: VGG-16 with the 512-100-100-10 head, batch 32, Adam 1e-3, float32, one image at a time through
torchvision's ImageFolder, ToTensor and Normalize. Its rate is measured over some steps after a warm-up.
Cutaway trains one epoch on a part of the same folder with its default recipe; its rate is that of the whole epoch as
run.json's clock has it: augmentation, validation, vitals, snapshot and checkpoints included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

WIDTHS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]


def plain_network() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    head = [nn.Linear(512, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def plain_rate(data: Path, steps: int, warm_up: int = 10) -> float:
    transform = Compose([ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    loader = DataLoader(ImageFolder(str(data / "train"), transform), batch_size=32, shuffle=True)
    network = plain_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    start = 0.0
    for step, (images, labels) in enumerate(loader):
        if step == warm_up:
            start = time.perf_counter()
        if step == warm_up + steps:
            break
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    return 32 * steps / (time.perf_counter() - start)


def cutaway_rate(data: Path, runs: str) -> float:
    command = [
        sys.executable,
        "-m",
        "cutaway",
        "train",
        str(data),
        "--model",
        "vgg16",
        "--epochs",
        "1",
        "--runs",
        runs,
        "--json",
    ]
    line = json.loads(subprocess.check_output(command, text=True))
    return float(line["samples"] / line["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="CIFAR-10 as train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as runs:
        for _ in range(arguments.rounds):
            plain, ours = plain_rate(arguments.data, arguments.steps), cutaway_rate(arguments.data, runs)
            ratios.append(ours / plain)
            print(f"plain loop {plain:6.1f} images/s, cutaway {ours:6.1f} images/s, ratio {ratios[-1]:.2f}", flush=True)
    print(
        f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)"
    )


if __name__ == "__main__":
    main()
