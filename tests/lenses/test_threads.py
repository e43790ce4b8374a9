"""Two threads with one network: each sees its own passes alone."""

from __future__ import annotations

import gc
import os
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutaway.models import Preprocessing
from cutaway.restoring import lock_of
from cutaway.scope import Scope

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
INPUT = Preprocessing((1, 8, 8), (0.5,), (0.25,))


class Slow(nn.ReLU):
    """Lets other threads come in between."""

    def forward(self, values: Tensor) -> Tensor:
        time.sleep(0.003)
        return super().forward(values)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    stages = [
        nn.Sequential(nn.Conv2d(1 if n == 0 else 4, 4, 3, padding=1), nn.BatchNorm2d(4), Slow()) for n in range(3)
    ]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


LOOKS: dict[str, Callable[[Scope], Any]] = {
    "summary": lambda scope: [(row.name, row.output_shape, row.called) for row in scope.layers().rows],
    "maps": lambda scope: {name: value.tolist() for name, value in scope.feature_maps(IMAGES).maps.items()},
    "predictions": lambda scope: scope.predict(IMAGES)[1],
    "gradients": lambda scope: {name: value.tolist() for name, value in scope.gradients(IMAGES, 1).kernels.items()},
    "grad-cam": lambda scope: scope.explain(IMAGES, "grad-cam", 0, check=False).heat.tolist(),
    "guided": lambda scope: scope.explain(IMAGES, "guided-backprop", 0, check=False).heat.tolist(),
    "integrated": lambda scope: scope.explain(IMAGES, "integrated-gradients", 0, check=False, steps=8).heat.tolist(),
    "imagined": lambda scope: scope.imagine("0.0:1", steps=2, size=8, precision="fp32").objectives.tolist(),
}


def test_threads_that_collide_see_what_one_alone_sees() -> None:
    scope = Scope(network(), classes=("a", "b", "c"), preprocessing=INPUT)
    alone = {name: look(scope) for name, look in LOOKS.items()}
    wishes = [*LOOKS] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: LOOKS[name](scope), wishes))
    wrong = [name for name, value in zip(wishes, found, strict=True) if value != alone[name]]
    assert wrong == []
    assert not any(module._forward_hooks for module in scope.network.modules())


def test_two_scopes_of_one_network_wait_for_each_other() -> None:
    inner = network()
    first, second = Scope(inner), Scope(nn.DataParallel(inner))
    assert first.lock is second.lock is lock_of(inner)
    assert first.lock is not Scope(network()).lock


def test_a_lock_keeps_no_network() -> None:
    inner = network()
    lock_of(inner)
    gone = weakref.ref(inner)
    del inner
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_is_not_held_by_a_thread_that_it_does_not_have() -> None:
    inner = network()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lock_of(inner).acquire).result()
        child = os.fork()
        if child == 0:
            os._exit(0 if lock_of(inner).acquire(timeout=5) else 1)
        assert os.waitpid(child, 0)[1] == 0
        pool.submit(lock_of(inner).release).result()
