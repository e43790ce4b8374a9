"""Many versions of one image that differ in a small box each: computing only what the box changes, exactly.

A convolution or pooling window that does not reach into the box gives what it gives on the unchanged image. So a map
of all versions is kept as one map of the unchanged image and, per version, the box in which it may differ. The box
grows from layer to layer as receptive fields do; once it is most of the map, or an operation comes that is not known
here, the maps are written out in full and the network goes on as usual. It serves any network, because it is the
tensor that knows, and not the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.computing.torch_inside import arguments, leaves, mapped, operation_name, without_data, writes

_Pair = tuple[int, int]
# A box that covers more of the map than this is not worth the gathering.
LARGEST_SHARE = 0.6


class Patched(Tensor):
    """A float tensor (N, C, H, W) that is `clean` (1, C, H, W) but for one box of h x w pixels in each version.

    Use it under `torch.no_grad`. To everybody but the operations below it is an ordinary tensor.

    Attributes:
        clean: (1, C, H, W), what all versions share outside their boxes.
        patch: (N, C, h, w), the content of the boxes.
        rows, columns: int64 (N,), where each box begins; it ends inside the map.
        whole: (N, C, H, W) once it was written out; then it alone counts.
    """

    clean: Tensor
    patch: Tensor
    rows: Tensor
    columns: Tensor
    whole: Tensor | None

    @staticmethod
    def __new__(cls, clean: Tensor, patch: Tensor, rows: Tensor, columns: Tensor) -> Patched:
        """A tensor without data of its own."""
        like = torch.empty((len(patch), *clean.shape[1:]), device="meta").contiguous(memory_format=_layout(clean))
        made: Patched = without_data(cls, like, clean.dtype, clean.device)
        return made

    def __init__(self, clean: Tensor, patch: Tensor, rows: Tensor, columns: Tensor) -> None:
        self.set(clean, patch, rows, columns)

    def set(self, clean: Tensor, patch: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Take another content, as an operation in place does."""
        self.clean, self.patch, self.rows, self.columns, self.whole = clean, patch, rows, columns, None

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]  # torch names nothing here
        """Sizes only."""
        return f"Patched({tuple(self.shape)}, boxes of {tuple(self.patch.shape[2:])})"

    def written_out(self) -> Tensor:
        """The ordinary tensor (N, C, H, W); from now on this is the only content."""
        if self.whole is None:
            whole = self.clean.expand(len(self.patch), -1, -1, -1).contiguous(memory_format=_layout(self.clean))
            places = _places(self.rows, self.patch.shape[2]), _places(self.columns, self.patch.shape[3])
            image = torch.arange(len(self.patch), device=self.rows.device)[:, None, None]
            inside = whole.permute(0, 2, 3, 1)
            inside[image, places[0][:, :, None], places[1][:, None, :]] = self.patch.permute(0, 2, 3, 1)
            self.whole = whole
        return self.whole

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # it is a class method, whatever torch's stub says
        """Compute the boxes alone where that is known how, and everything where it is not."""
        given = [value for value in leaves((args, kwargs)) if isinstance(value, Patched)]
        rule = _RULES.get(operation_name(func))
        if rule is not None and all(value.whole is None for value in given):
            result = rule(func, args, kwargs or {})
            if result is not None:
                return result
        return func(*mapped(_written_out, args), **mapped(_written_out, kwargs or {}))


def _written_out(value: Any) -> Any:
    return value.written_out() if isinstance(value, Patched) else value


def _layout(clean: Tensor) -> torch.memory_format:
    """That of the whole tensor: code that calls `view` or `flatten` depends on it."""
    return torch.contiguous_format if clean.is_contiguous() else torch.channels_last


def _places(starts: Tensor, count: int) -> Tensor:
    """(N, count): `count` places from each start."""
    return starts[:, None] + torch.arange(count, device=starts.device)


def patched(image: Tensor, patch: Tensor, rows: Tensor, columns: Tensor) -> Patched:
    """Versions of one image that differ from it in one box each.

    Args:
        image: float (1, C, H, W); an operation in place on the result changes it and `patch`.
        patch: float (N, C, h, w), the boxes' content.
        rows, columns: int64 (N,), where the boxes begin; they must end inside the image.

    >>> image = torch.zeros(1, 1, 8, 8)
    >>> versions = patched(image, torch.ones(2, 1, 1, 1), torch.tensor([0, 4]), torch.tensor([0, 4]))
    >>> with torch.no_grad():
    ...     maps = torch.nn.functional.conv2d(versions, torch.ones(1, 1, 3, 3), padding=1)
    >>> maps.patch.shape, maps.sum((1, 2, 3))
    (torch.Size([2, 1, 3, 3]), tensor([4., 9.]))
    """
    return Patched(image, patch, rows, columns)


def _pointwise(func: Any, args: Any, kwargs: Any) -> Any:
    """An operation of each pixel by itself: the same on the clean map and on the boxes."""
    others = [value for value in leaves((args, kwargs)) if isinstance(value, Tensor)]
    if "out" in kwargs or not all(isinstance(value, Patched) or _is_alike_everywhere(value) for value in others):
        return None
    boxes = _aligned([value for value in others if isinstance(value, Patched)])
    return None if boxes is None else _apply(func, args, kwargs, boxes)


def _is_alike_everywhere(value: Tensor) -> bool:
    """Whether it is one number, or one a channel."""
    per_channel = value.ndim in (3, 4) and value.shape[-2:] == (1, 1) and (value.ndim == 3 or value.shape[0] == 1)
    return value.numel() == 1 or per_channel


_Boxes = tuple[dict[int, Tensor], Tensor, Tensor]


def _apply(func: Any, args: Any, kwargs: Any, boxes: _Boxes) -> Patched:
    patches, rows, columns = boxes
    clean = func(*mapped(_clean, args), **mapped(_clean, kwargs))

    def patch(value: Any) -> Any:
        return patches[id(value)] if isinstance(value, Patched) else value

    result = clean, func(*mapped(patch, args), **mapped(patch, kwargs)), rows, columns
    if writes(func):
        changed: Patched = args[0]
        changed.set(*result)
        return changed
    return Patched(*result)


def _clean(value: Any) -> Any:
    return value.clean if isinstance(value, Patched) else value


def _aligned(values: list[Patched]) -> _Boxes | None:
    """The contents of all values in boxes that hold each value's box, by the values' ids; None if they get large."""
    first = values[0]
    size = (first.patch.shape[2], first.patch.shape[3])
    same = all(
        value is first
        or (
            value.patch.shape[2:] == size
            and torch.equal(value.rows, first.rows)
            and torch.equal(value.columns, first.columns)
        )
        for value in values
    )
    if same:
        return {id(value): value.patch for value in values}, first.rows, first.columns
    if any(value.shape[2:] != first.shape[2:] for value in values):
        return None
    rows, height = _union([(value.rows, value.patch.shape[2]) for value in values], first.shape[2])
    columns, width = _union([(value.columns, value.patch.shape[3]) for value in values], first.shape[3])
    if _is_large(height * width, first.shape):
        return None
    places = _places(rows, height), _places(columns, width)
    return {id(value): _gather(value, places, (0, 0), 0.0) for value in values}, rows, columns


def _union(boxes: list[tuple[Tensor, int]], side: int) -> tuple[Tensor, int]:
    """Starts and one common length, along one axis, of boxes that hold all the given ones."""
    start = torch.stack([starts for starts, _ in boxes]).amin(0)
    length = int((torch.stack([starts + length for starts, length in boxes]).amax(0) - start).max())
    return start.clamp_max(side - length), length


def _is_large(pixels: int, shape: Sequence[int]) -> bool:
    return pixels > LARGEST_SHARE * shape[2] * shape[3]


def _gather(value: Patched, places: tuple[Tensor, Tensor], padding: _Pair, filler: float) -> Tensor:
    """The content (N, C, a, b) at rows (N, a) and columns (N, b), counted from the start of the padding around it."""
    (top, left), (height, width) = padding, value.patch.shape[2:]
    below, right = (max(0, int(places[axis].max()) + 1 - padding[axis] - value.shape[2 + axis]) for axis in (0, 1))
    padded = F.pad(value.clean, (left, right, top, below), value=filler)
    channels = padded.shape[1]
    inner = [source.permute(0, 2, 3, 1).reshape(-1, channels) for source in (padded, value.patch)]
    row, column = (
        (places[0] - top - value.rows[:, None])[:, :, None],
        (places[1] - left - value.columns[:, None])[:, None],
    )
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    version = torch.arange(len(value.patch), device=row.device)[:, None, None]
    in_patch = len(inner[0]) + (version * height + row) * width + column
    in_clean = places[0][:, :, None] * padded.shape[3] + places[1][:, None]
    # One lookup of whole pixels; F.embedding is the fastest of its kind.
    return F.embedding(torch.where(inside, in_patch, in_clean), torch.cat(inner)).permute(0, 3, 1, 2)


def _windowed(
    value: Patched,
    clean: Tensor,
    window: tuple[_Pair, _Pair, _Pair, _Pair],
    filler: float,
    compute: Callable[[Tensor], Tensor],
) -> Patched | None:
    """A convolution or pooling whose output on the unchanged image is `clean`; `compute` does it without padding.

    The window is kernel, stride, padding and dilation. None if the boxes reach most of the output.
    """
    padding = window[2]
    axes = [tuple(pair[axis] for pair in window) for axis in (0, 1)]
    rows, height = _reach(value.rows, value.patch.shape[2], clean.shape[2], axes[0])
    columns, width = _reach(value.columns, value.patch.shape[3], clean.shape[3], axes[1])
    if _is_large(height * width, clean.shape):
        return None
    spans = [
        (count - 1) * stride + (kernel - 1) * dilation + 1
        for count, (kernel, stride, _, dilation) in zip((height, width), axes, strict=True)
    ]
    places = _places(rows * axes[0][1], spans[0]), _places(columns * axes[1][1], spans[1])
    return Patched(clean, compute(_gather(value, places, padding, filler)), rows, columns)


def _reach(starts: Tensor, length: int, outputs: int, axis: tuple[int, ...]) -> tuple[Tensor, int]:
    """The first output along one axis that each box reaches, and how many at most."""
    kernel, stride, padding, dilation = axis
    low = -((kernel - 1) * dilation - padding - starts).div(stride, rounding_mode="floor")
    high = (starts + (length - 1 + padding)).div(stride, rounding_mode="floor")
    low, high = low.clamp_min(0), high.clamp_max(outputs - 1)
    count = max(1, int((high - low).max()) + 1)
    return low.clamp_max(outputs - count), count


def _pair(value: Any, default: _Pair = (0, 0)) -> _Pair:
    values = [value] if isinstance(value, int) else list(value)
    return (int(values[0]), int(values[-1])) if values else default


def _convolution(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    value, weight = given["input"], given["weight"]
    if not isinstance(value, Patched) or given["transposed"] or weight.ndim != 4:
        return None
    steps = _pair(given["stride"]), _pair(given["padding"]), _pair(given["dilation"])
    clean = func(**{**given, "input": value.clean})
    return _windowed(
        value,
        clean,
        ((weight.shape[2], weight.shape[3]), *steps),
        0.0,
        lambda content: func(**{**given, "input": content, "padding": [0, 0]}),
    )


def _max_pool(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    value, size = given["self"], _pair(given["kernel_size"])
    window = size, _pair(given["stride"], size), _pair(given["padding"]), _pair(given["dilation"])
    clean = func(**{**given, "self": value.clean})[0]
    inside = {**given, "padding": [0, 0], "ceil_mode": False}
    found = _windowed(value, clean, window, -torch.inf, lambda content: func(**{**inside, "self": content})[0])
    # Nothing can unpool with these indices without an error.
    return None if found is None else (found, torch.empty(0, dtype=torch.int64))


def _mean_pool(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    value, size = given["self"], _pair(given["kernel_size"])
    odd = given["ceil_mode"] or not given["count_include_pad"] or given["divisor_override"] is not None
    if odd or _pair(given["padding"]) != (0, 0):
        return None
    window = size, _pair(given["stride"], size), (0, 0), (1, 1)
    clean = func(**{**given, "self": value.clean})
    return _windowed(value, clean, window, 0.0, lambda content: func(**{**given, "self": content}))


def _batch_norm(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    value = given["input"]
    if not isinstance(value, Patched) or given["running_mean"] is None or given["training"]:
        return None
    clean, *rest = func(**{**given, "input": value.clean})
    found = Patched(clean, func(**{**given, "input": value.patch})[0], value.rows, value.columns)
    return (found, *rest)


def _pad(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    value, pads = given["self"], given["pad"]
    if len(pads) != 4 or min(pads) < 0:
        return None
    clean = func(**{**given, "self": value.clean})
    return Patched(clean, value.patch.clone(), value.rows + pads[2], value.columns + pads[0])


def _join(func: Any, args: Any, kwargs: Any) -> Any:
    given = arguments(func, args, kwargs)
    if given["dim"] != 1 or not all(isinstance(value, Patched) for value in given["tensors"]):
        return None
    return _pointwise(func, args, kwargs)


_IN_PLACE_TOO = (
    "relu hardtanh leaky_relu elu silu sigmoid tanh hardswish hardsigmoid clamp clamp_min add sub mul div neg"
)
_POINTWISE = [*_IN_PLACE_TOO.split(), *(f"{name}_" for name in _IN_PLACE_TOO.split())]
_POINTWISE += ["clone", "rsub", "relu6", "gelu", "softplus", "mish"]
_RULES: dict[str, Callable[[Any, Any, Any], Any]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _mean_pool,
    "native_batch_norm": _batch_norm,
    "cat": _join,
    "constant_pad_nd": _pad,
}
