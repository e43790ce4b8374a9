"""Experiment 3 as people write it by hand: ResNet-18 on Fashion-MNIST, 5 epochs, batch 128, Adam 1e-3, float32.

Prints one JSON line with the seconds and the accuracy on the 10,000 test images. It stands on torch and torchvision
alone, so that it measures the plain way and nothing of Cutaway.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, ToTensor


class FashionMNIST(Dataset):  # type: ignore[type-arg]  # as the plain script has it
    """The IDX files, one image at a time through torchvision's transforms, as `torchvision.datasets` does it."""

    def __init__(self, folder: Path, part: str) -> None:
        def read(name: str, offset: int) -> np.ndarray:
            return np.frombuffer(gzip.open(folder / f"{part}-{name}-ubyte.gz").read(), np.uint8, offset=offset)

        self.images = read("images-idx3", 16).reshape(-1, 28, 28)
        self.labels = read("labels-idx1", 8)
        self.transform = Compose([ToTensor(), Normalize((0.2860,), (0.3530,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index][:, :, None].copy()), int(self.labels[index])


def accuracy(network: nn.Module, loader: DataLoader) -> float:  # type: ignore[type-arg]  # as above
    network.eval()
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]  # the data set has a length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(0)
    train = DataLoader(FashionMNIST(arguments.data, "train"), batch_size=128, shuffle=True)
    test = DataLoader(FashionMNIST(arguments.data, "t10k"), batch_size=128)
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(arguments.epochs):
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
    result = accuracy(network, test)
    print(json.dumps({"seconds": time.perf_counter() - start, "accuracy": result}))


if __name__ == "__main__":
    main()
