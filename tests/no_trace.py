"""What a lens must leave as it found it, as one value that can be compared."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks") and not name.startswith("_state")]


def state_of(network: nn.Module) -> dict[str, Any]:
    """Everything of `network`, and of the process, that a lens could change."""
    state: dict[str, Any] = {"grad mode": torch.is_grad_enabled(), "autocast": torch.is_autocast_enabled("cpu")}
    for name, module in network.named_modules():
        state[f"{name} training"] = module.training
        state[f"{name} inplace"] = getattr(module, "inplace", None)
        state[f"{name} forward"] = "forward" in vars(module)
        state[f"{name} hooks"] = [(hook, list(getattr(module, hook))) for hook in _HOOKS]
        state[f"{name} children"] = [id(child) for child in module.children()]
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        state[name] = (id(value), value.requires_grad, id(value.grad), value.device, value.stride(), content(value))
        if value.grad is not None:
            state[f"{name} gradient"] = content(value.grad)
    state["random"] = (random.getstate(), np.random.get_state()[1].tobytes(), content(torch.get_rng_state()))  # type: ignore[union-attr]  # the default kind of state is a tuple
    return state


def content(value: Tensor) -> bytes:
    """The bytes of a tensor."""
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
