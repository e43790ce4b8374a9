"""Capturing every leaf output of ResNet-18 at 224: beside the plain forward pass and TorchLens, in one run.

    python benchmarks/capture.py [--rounds 15] [--batch 1 --batch 16] [--without-torchlens]

The rounds take turns: a plain pass, Cutaway's capture of all 60 leaf calls, and hooks that copy; then, in three rounds
of its own, TorchLens keeping all activations. The ratio is the median over the rounds of capture / plain in that round;
the quartiles stand beside it. What is captured is compared with hooks that copy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cutaway.computing.process import set_up
from cutaway.lenses.capture import capture, is_leaf


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def with_hooks(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The obvious way: a copy in a hook of every leaf."""
    found: list[Tensor] = []
    leaves = [module for module in network.modules() if is_leaf(module)]
    handles = [leaf.register_forward_hook(lambda m, a, output: found.append(output.clone())) for leaf in leaves]
    network(images)
    for handle in handles:
        handle.remove()
    return found


def with_torchlens(network: nn.Module, images: Tensor) -> object:
    import torchlens

    log = getattr(torchlens, "log_forward_pass", None) or torchlens.trace
    return log(network, images)


@torch.no_grad()
def measure(batch: int, rounds: int, ways: dict[str, Callable[[nn.Module, Tensor], object]]) -> None:
    network = resnet18().eval()
    images = torch.randn(batch, 3, 224, 224)
    found = list(capture(network, images).values())
    assert all(map(torch.equal, found, with_hooks(network, images))), "what was captured differs from the copies"
    del found
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 2):
        for name, way in ways.items():
            times[name].append(seconds(lambda way=way: way(network, images)))
    print(f"batch {batch}, {rounds} rounds, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, values in times.items():
        tell(name, values[2:], times["plain"][2:])


def tell(name: str, values: list[float], plain: list[float]) -> None:
    ratios = [one / other for one, other in zip(values, plain, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"  {name:16} {1000 * statistics.median(values):8.1f} ms   x {middle:.3f}  ({low:.3f} to {high:.3f})")


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--without-torchlens", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    batches = arguments.batch or [1, 4, 16]
    plain = {"plain": lambda network, images: network(images)}
    for batch in batches:
        measure(batch, arguments.rounds, {**plain, "cutaway": capture, "hooks that copy": with_hooks})
    # Last, because it wraps torch's functions for the rest of the process.
    for batch in [] if arguments.without_torchlens else batches:
        measure(batch, 3, {**plain, "torchlens": with_torchlens})


if __name__ == "__main__":
    main()
