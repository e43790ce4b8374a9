"""Putting a network back as it was: the one promise under every lens, probe and measurement."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_FINDING = threading.Lock()


def lock_of(network: nn.Module) -> threading.RLock:
    """The lock of a network: whoever hooks, changes or runs it holds it, because another thread's hooks would hear."""
    with _FINDING:
        return _LOCKS.setdefault(network, threading.RLock())


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Have a network for oneself, and put back, on success and on any exception, all that a lens may change in it.

    That is: the train/eval flag of every module, `requires_grad` and `.grad` of every parameter, every buffer (the
    object and its values), and the random states of Python, NumPy and torch. Other threads wait.
    """
    with lock_of(network):
        yield from _restored(network)


def _restored(network: nn.Module) -> Iterator[None]:
    # One walk over the modules: for a small network each walk costs as much as a layer.
    flags = [(module, module.training) for module in network.modules()]
    parameters = [(value, value.requires_grad, value.grad) for value in _parameters(flags)]
    buffers = [(module, dict(module._buffers), _copies(module)) for module, _ in flags if module._buffers]
    tensors = [value for value, _, _ in parameters] + [value for _, _, copies in buffers for value in copies.values()]
    devices = {value.device for value in tensors}
    randomness = _random_states(devices)
    try:
        yield
    finally:
        for module, flag in flags:
            if module.training is not flag:
                module.training = flag
        for value, needs_gradient, gradient in parameters:
            if value.requires_grad is not needs_gradient:
                value.requires_grad_(needs_gradient)
            value.grad = gradient
        for module, originals, copies in buffers:
            _restore_buffers(module, originals, copies)
        _set_random_states(randomness)


def _forget_locks() -> None:
    """In a forked child the threads that held locks do not exist, and would never let go."""
    global _FINDING
    _FINDING = threading.Lock()
    _LOCKS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _parameters(flags: list[tuple[nn.Module, bool]]) -> list[nn.Parameter]:
    """Every parameter of these modules once."""
    found = {id(value): value for module, _ in flags for value in module._parameters.values() if value is not None}
    return list(found.values())


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module._buffers.items() if value is not None}


def _restore_buffers(module: nn.Module, originals: dict[str, Tensor | None], copies: dict[str, Tensor]) -> None:
    # A scripted module's buffers cannot be exchanged, only written.
    if not isinstance(module, torch.jit.ScriptModule):
        module._buffers.clear()
        module._buffers.update(originals)
    for name, copy in copies.items():
        original = originals[name]
        # Values are compared because batch norm changes its buffers without counting up their version, and written
        # only where they differ because a graph that was recorded before may need the buffer for its backward pass.
        if original is not None and not original.is_meta and not torch.equal(original, copy):
            with torch.no_grad():
                original.copy_(copy)


def _random_states(devices: set[torch.device]) -> dict[str, Any]:
    cuda = {device: torch.cuda.get_rng_state(device) for device in devices if device.type == "cuda"}
    mps = torch.mps.get_rng_state() if any(device.type == "mps" for device in devices) else None
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "mps": mps,
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    for device, state in states["cuda"].items():
        torch.cuda.set_rng_state(state, device)
    if states["mps"] is not None:
        torch.mps.set_rng_state(states["mps"])
