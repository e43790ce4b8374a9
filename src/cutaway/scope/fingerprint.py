"""The fingerprint of a network's weights, on every certificate."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import version


class Fingerprint:
    """SHA-256 over the names, shapes and bytes of all parameters and buffers, computed again when one has changed.

    A change is seen by torch's own count of in-place changes; writing through `.data`, which hides from it, is not.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.key: tuple[tuple[int, int], ...] = ()
        self.text = ""

    def now(self) -> str:
        """The first 16 hexadecimal digits for the weights as they are now."""
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        key = tuple((value.data_ptr(), version(value)) for value in tensors.values())
        if not self.text or key != self.key:
            self.key, self.text = key, _digest(tensors)
        return self.text


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        raw = value.detach().cpu().contiguous().flatten()
        found.update(raw.view(dtype=torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
