"""Weights from a file into a network: read without unpickling and compared tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cutaway.computing.torch_inside import COMPILED
from cutaway.errors import InputError
from cutaway.models.model import text

Tensors = dict[str, Tensor]
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", COMPILED)
_SHOWN = 3
# BatchNorm's count of batches: absent before 2018, read by nothing here, and never the only difference.
_COUNTER = "num_batches_tracked"


def read_weights(path: Path) -> Tensors:
    """The tensors of a `.safetensors`, `.pth` or `.pt` file by name, on the CPU; nothing is unpickled."""
    if not path.is_file():
        raise InputError(f"weights {path}: there is no such file")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return {_bare(name): tensor for name, tensor in tensors.items()}


def _read_safetensors(path: Path) -> Tensors:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise InputError(f"weights {path} are damaged or no safetensors file ({error})") from error


def _read_torch(path: Path) -> Tensors:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"weights {path} cannot be read without running code from the file (or are damaged); "
            "save only the tensors: torch.save(network.state_dict(), FILE)"
        ) from error
    while isinstance(content, Mapping) and (
        key := next((name for name in _WRAPPERS if _is_mapping(content, name)), None)
    ):
        content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise InputError(f"weights {path}: expected a state dict (names to tensors), found {_kind(content)}")
    return dict(content)


def _is_mapping(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = ", ".join(str(key) for key in list(content)[:_SHOWN])
        return f"a dict with {keys or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _bare(name: str) -> str:
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    # torchvision's DenseNet files still carry the layer names of 2017 (norm.1 for norm1).
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)", r"\1\2", name)


@dataclass(frozen=True)
class Fitted:
    """The layer that was left out of the weights (None if all fitted), and sentences about what was done."""

    left_out: str | None
    notes: tuple[str, ...]


def fit_weights(network: nn.Module, tensors: Tensors, source: str, heads: Sequence[str], first: str | None) -> Fitted:
    """Copy `tensors` into `network`.

    `heads` are dotted names, innermost first: the class layer, then what may be left out with it (the whole
    classifier of a VGG). The first of them that accounts for every difference in shape is left out. `first` is the
    first convolution: RGB kernels are summed over the colours where it takes one channel. Everything else must
    fit; if not, an `InputError` names the tensors that differ, and the network is unchanged.
    """
    tensors, notes = dict(tensors), []
    expected = network.state_dict()
    if first and _is_rgb_for_grey(expected, tensors, f"{first}.weight"):
        tensors[f"{first}.weight"] = tensors[f"{first}.weight"].sum(1, keepdim=True)
        notes.append(f"the RGB kernels of {first} were summed over the colours for one-channel images")
    left_out = _left_out(expected, tensors, heads)
    if left_out:
        notes.append(
            f"{left_out} starts anew: in {source} it has other sizes ({_difference(expected, tensors, left_out)})"
        )
        tensors = {name: value for name, value in tensors.items() if not _inside(name, left_out)}
        expected = {name: value for name, value in expected.items() if not _inside(name, left_out)}
    _check(expected, tensors, source)
    network.load_state_dict({name: value for name, value in tensors.items() if name in expected}, strict=False)
    return Fitted(left_out, tuple(notes))


def _is_rgb_for_grey(expected: Mapping[str, Tensor], tensors: Tensors, name: str) -> bool:
    if name not in expected or name not in tensors or tensors[name].ndim != 4:
        return False
    ours, theirs = expected[name].shape, tensors[name].shape
    return ours[1] == 1 and theirs[1] == 3 and (ours[0], *ours[2:]) == (theirs[0], *theirs[2:])


def _left_out(expected: Mapping[str, Tensor], tensors: Tensors, heads: Sequence[str]) -> str | None:
    wrong = _misshapen(expected, tensors)
    if not wrong:
        return None
    return next((head for head in heads if head and all(_inside(name, head) for name in wrong)), None)


def _misshapen(expected: Mapping[str, Tensor], tensors: Tensors) -> list[str]:
    return [name for name, value in expected.items() if name in tensors and tensors[name].shape != value.shape]


def _inside(name: str, layer: str) -> bool:
    return name.startswith(f"{layer}.")


def _difference(expected: Mapping[str, Tensor], tensors: Tensors, layer: str) -> str:
    name = next(name for name in _misshapen(expected, tensors) if _inside(name, layer))
    return f"{name} {text(tuple(tensors[name].shape))} for {text(tuple(expected[name].shape))}"


def _check(expected: Mapping[str, Tensor], tensors: Tensors, source: str) -> None:
    wrong = _misshapen(expected, tensors)
    missing = [name for name in expected if name not in tensors and not name.endswith(_COUNTER)]
    surplus = [name for name in tensors if name not in expected and not name.endswith(_COUNTER)]
    parts = [
        _listed("of another shape", [_shapes(name, tensors, expected) for name in wrong[:_SHOWN]], len(wrong)),
        _listed("missing", missing[:_SHOWN], len(missing)),
        _listed("unexpected", surplus[:_SHOWN], len(surplus)),
    ]
    if any(parts):
        raise InputError(f"{source} is of another architecture: {'; '.join(part for part in parts if part)}")


def _shapes(name: str, tensors: Tensors, expected: Mapping[str, Tensor]) -> str:
    return f"{name} ({text(tuple(tensors[name].shape))}, expected {text(tuple(expected[name].shape))})"


def _listed(kind: str, names: Sequence[str], count: int) -> str:
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f"{count} tensors {kind}: {', '.join(names)}{more}" if count else ""
