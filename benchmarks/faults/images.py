"""The data of the catalogue: small subsets, standardised, as tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cutaway.data import load_data


@dataclass(frozen=True)
class Images:
    """Training and validation images float (N, C, H, W) with labels int64 (N,)."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    classes: int

    def but(self, **changes: Tensor) -> Images:
        """The same with some tensors replaced."""
        return replace(self, **changes)


@cache
def images(name: str, train: int = 1920, val: int = 500) -> Images:
    """A seeded subset of `fashion`, `cifar`, `shapes` or `colours` (a folder), standardised by its own statistics."""
    dataset = load_data(source(name), **({"size": 24} if name == "colours" else {}))
    parts = []
    for split, count in (("train", train), ("val", val)):
        part = dataset.splits[split]
        rows = np.sort(np.random.default_rng(0).permutation(len(part))[:count])
        rows = np.random.default_rng(1).permutation(rows)
        parts += [torch.from_numpy(part.images[rows]).float() / 255, torch.from_numpy(part.labels[rows])]
    mean, std = parts[0].mean((0, 2, 3), keepdim=True), parts[0].std((0, 2, 3), keepdim=True)
    return Images((parts[0] - mean) / std, parts[1], (parts[2] - mean) / std, parts[3], len(dataset.classes))


def source(name: str) -> str:
    """What `load_data` takes; CIFAR-10 is the built-in set, or the folder that CUTAWAY_CIFAR names."""
    if name == "colours":
        return str(colours())
    return {"fashion": "fashion-mnist", "cifar": os.environ.get("CUTAWAY_CIFAR", "cifar10")}.get(name, name)


@cache
def colours() -> Path:
    """A folder of noisy images whose two colours tell the class, drawn once."""
    from PIL import Image

    folder = Path(os.environ.get("CUTAWAY_FAULTS", "runs/faults")) / "colours"
    generator = np.random.default_rng(5)
    for number, name in enumerate(("amber", "blue", "coral", "denim", "emerald")):
        if (folder / name).is_dir():
            continue
        (folder / name).mkdir(parents=True)
        base = np.array([[200, 150, 40], [40, 60, 190], [220, 110, 90], [50, 90, 140], [30, 160, 90]][number])
        for count in range(420):
            light = generator.normal(0, 25, (24, 24, 3)) + base + generator.normal(0, 30, 3)
            light[generator.integers(0, 12) :, generator.integers(0, 12) :] += generator.normal(0, 40)
            Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / name / f"{count:04d}.png")
    return folder


def raw(data: Images) -> Images:
    """Pixels as 0..255: the standardisation taken back as far as range goes."""
    low, high = data.train.min(), data.train.max()

    def back(values: Tensor) -> Tensor:
        return (values - low) / (high - low) * 255

    return data.but(train=back(data.train), val=back(data.val))


def unit(data: Images) -> Images:
    """Pixels as 0..1."""
    found = raw(data)
    return found.but(train=found.train / 255, val=found.val / 255)


def by_class(data: Images) -> Images:
    """Training images class by class."""
    order = torch.argsort(data.train_labels, stable=True)
    return data.but(train=data.train[order], train_labels=data.train_labels[order])


def rare(data: Images, keep: float, common: int = 0) -> Images:
    """All classes but one made rare, in training and validation."""
    generator = torch.Generator().manual_seed(3)

    def chosen(labels: Tensor) -> Tensor:
        return (labels == common) | (torch.rand(len(labels), generator=generator) < keep)

    train, val = chosen(data.train_labels), chosen(data.val_labels)
    return data.but(
        train=data.train[train],
        train_labels=data.train_labels[train],
        val=data.val[val],
        val_labels=data.val_labels[val],
    )


def shuffled_labels(data: Images) -> Images:
    """Training labels that belong to other images."""
    order = torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(4))
    return data.but(train_labels=data.train_labels[order])


def twice(data: Images) -> Images:
    """Standardised once more, by ImageNet's figures."""
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return data.but(train=(data.train - mean) / std, val=(data.val - mean) / std)


def divided(data: Images) -> Images:
    """Divided by 255 twice."""
    found = unit(data)
    return found.but(train=found.train / 255, val=found.val / 255)


def blank(data: Images) -> Images:
    """Every image one grey: what whole-number division leaves of 0..255."""
    return data.but(train=torch.zeros_like(data.train) + 0.2, val=torch.zeros_like(data.val) + 0.2)


def from_one(data: Images) -> Images:
    """Labels from 1, and one output more."""
    return replace(data.but(train_labels=data.train_labels + 1, val_labels=data.val_labels + 1), classes=11)


def rolled_labels(data: Images) -> Images:
    """Training labels that belong to the image before."""
    return data.but(train_labels=data.train_labels.roll(1))


def spoilt(data: Images) -> Images:
    """One pixel of one training image is no number."""
    train = data.train.clone()
    train[700, 0, 3, 3] = float("nan")
    return data.but(train=train)


def leaking(data: Images, share: float) -> Images:
    """A part of the validation images are training images."""
    count = int(share * len(data.val))
    val, labels = data.val.clone(), data.val_labels.clone()
    val[:count], labels[:count] = data.train[:count], data.train_labels[:count]
    return data.but(val=val, val_labels=labels)


def repeated(data: Images, times: int) -> Images:
    """Each training image several times."""
    return data.but(train=data.train.repeat(times, 1, 1, 1), train_labels=data.train_labels.repeat(times))
