"""CKA of ResNet-18 against ResNet-34: seconds beside plain forward passes, and how both grow with the layers.

Three ways, over the same batches, taken in turn:

- plain: both networks forward, and nothing else;
- ours: `cutaway.lenses.similarity.similarity`, one pass of each network a batch, N + M Gram matrices, one product;
- pairwise, the obvious version: for every pair of layers one pass of each network, stopped after the layer, the two
  Gram matrices and the unbiased estimate of that pair. It is measured on some pairs of the matrix and multiplied up.

Forward calls are counted by hooks on both networks. The values of the two ways are compared, too.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cutaway import load_data, load_model
from cutaway.computing.process import set_up
from cutaway.computing.small_maps import small_maps
from cutaway.lenses.capture import capture
from cutaway.lenses.similarity import similarity
from cutaway.lenses.weights import weight_names

Pairs = Sequence[tuple[Tensor, Tensor]]


class Calls:
    """Counts the forward passes of networks."""

    def __init__(self, *networks: nn.Module) -> None:
        self.count = 0
        for network in networks:
            network.register_forward_pre_hook(self._one)

    def _one(self, *_: object) -> None:
        self.count += 1

    def of(self, work: Callable[[], object]) -> int:
        before = self.count
        work()
        return self.count - before


def plain(networks: tuple[nn.Module, nn.Module], batches: Pairs) -> None:
    with torch.no_grad():
        for pair in batches:
            for network, images in zip(networks, pair, strict=True):
                network(images)


def literal_hsic(k: Tensor, other: Tensor) -> Tensor:
    """Song et al. (2012), equation 5, with matrix products."""
    n = len(k)
    k, other = k - torch.diag(k.diagonal()), other - torch.diag(other.diagonal())
    ones = torch.ones(n, dtype=k.dtype)
    outer = (ones @ k @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    return ((k * other).sum() + outer - 2 / (n - 2) * (ones @ k @ other @ ones)) / (n * (n - 3))


def pairwise(networks: tuple[nn.Module, nn.Module], layers: tuple[str, str], batches: Pairs) -> float:
    """The CKA of one pair of layers, by passes of its own."""
    terms = torch.zeros(3, dtype=torch.float64)
    for pair in batches:
        answers = []
        for network, images, layer in zip(networks, pair, layers, strict=True):
            with torch.no_grad():
                answers.append(capture(network, images, [layer])[layer].flatten(1))
        k, other = ((values @ values.T).double() for values in answers)
        terms += torch.stack([literal_hsic(k, other), literal_hsic(k, k), literal_hsic(other, other)])
    return float(terms[0] / (terms[1] * terms[2]).sqrt())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def some(layers: Sequence[str], share: float) -> list[str]:
    """Layers spread over the whole depth, the deepest always among them, so that a pass never gets shorter."""
    places = np.linspace(0, len(layers) - 1, max(1, round(share * len(layers)))).round().astype(int)
    return [layers[place] for place in sorted({*places.tolist(), len(layers) - 1})]


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", help="a built-in data set or a folder")
    parser.add_argument("--models", nargs=2, default=["resnet18", "resnet34"], help="built-in names or runs")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=4, help="pairs of layers that the pairwise version is measured on")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="shares of the layers")
    arguments = parser.parse_args()

    data = load_data(arguments.data)
    options = {"classes": data.classes, "shape": data.shape, "seed": 0}
    networks = tuple(
        load_model(spec, **(options if "/" not in spec else {})).network.eval() for spec in arguments.models
    )
    first, second = networks
    pixels = torch.from_numpy(data.splits["test"].images[np.arange(arguments.images)])
    images = (pixels.float() / 255 - 0.5) / 0.25
    batches = [(part, part) for part in images.split(arguments.batch)]
    layers = [weight_names(network) for network in networks]
    calls = Calls(first, second)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{arguments.images} images of {data.name}, {len(batches)} batches; all passes with tiny maps as products")

    rows = []
    with small_maps():
        plain((first, second), batches[:1])  # warm up
        for share in arguments.shares:
            chosen = [some(names, share) for names in layers]

            def ours(chosen: list[list[str]] = chosen) -> object:
                return similarity(first, second, batches, *chosen)

            counted = calls.of(ours)
            bare, full = [], []
            for _ in range(arguments.rounds):
                bare.append(seconds(lambda: plain((first, second), batches)))
                full.append(seconds(ours))
            ratio = statistics.median(b / a for a, b in zip(bare, full, strict=True))
            rows.append(
                {
                    "layers": [len(names) for names in chosen],
                    "forward_calls": counted,
                    "plain_forward_calls": 2 * len(batches),
                    "plain_seconds": round(statistics.median(bare), 3),
                    "seconds": round(statistics.median(full), 3),
                    "ratio": round(ratio, 3),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
        report = pairwise_report((first, second), layers, batches, arguments.pairs, calls)
    print(json.dumps({"rows": rows, "pairwise": report}))


def pairwise_report(
    networks: tuple[nn.Module, nn.Module], layers: list[list[str]], batches: Pairs, count: int, calls: Calls
) -> dict[str, float | int]:
    """The obvious version on some pairs, multiplied up to the whole matrix, and its largest difference from ours."""
    random = np.random.default_rng(0)
    pairs = [(str(random.choice(layers[0])), str(random.choice(layers[1]))) for _ in range(count)]
    found = similarity(*networks, batches, *layers)
    difference, spent, before = 0.0, 0.0, calls.count
    for pair in pairs:
        start = time.perf_counter()
        value = pairwise(networks, pair, batches)
        spent += time.perf_counter() - start
        row, column = found.layers_a.index(pair[0]), found.layers_b.index(pair[1])
        difference = max(difference, abs(value - float(found.cka[row, column])))
    total = len(layers[0]) * len(layers[1])
    report = {
        "pairs_measured": count,
        "pairs": total,
        "forward_calls_a_pair": (calls.count - before) // count,
        "seconds_a_pair": round(spent / count, 3),
        "seconds_for_all": round(spent / count * total, 1),
        "largest_difference": difference,
        "self_gap": found.self_gap,
    }
    print(json.dumps(report), flush=True)
    return report


if __name__ == "__main__":
    main()
