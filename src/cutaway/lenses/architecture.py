"""A network's layers in the order of their calls: shapes, parameters, multiply-adds, memory, receptive fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any
from unicodedata import east_asian_width

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import Operations, arguments, leaves, operation_name, plain_attention
from cutaway.errors import InputError
from cutaway.lenses.capture import call_name, images_for
from cutaway.lenses.receptive import FieldTracker
from cutaway.restoring import untouched
from cutaway.showing import Card, Shown, Table
from cutaway.words import Words, words

MEBIBYTE = 2**20
Sides = tuple[int | None, int | None]


@dataclass(frozen=True)
class Row:
    """One call of one layer.

    `name` is the module's dotted name, with `#1`, `#2` ... for its later calls. Shapes include the batch and are
    None where the layer took or returned no tensor, or was not called. `parameters` counts each tensor once, at its
    first layer; `shared` says that the layer uses one counted before. `output_bytes` is the size of the output.
    `receptive_field` is (height, width) in pixels of the input, ignoring its border, and `jump` the distance of
    neighbouring units' fields; None where there is no one number, or it is not known.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    kernel: tuple[int, ...] | None
    parameters: int
    shared: bool
    mult_adds: int
    output_bytes: int
    receptive_field: Sides
    jump: Sides
    called: bool = True


@dataclass(frozen=True)
class Summary(Shown):
    """Rows and totals of one forward pass.

    `mult_adds` is for the whole batch. `forward_backward_bytes` counts the output of every row twice, for its value
    and its gradient; `parameter_bytes` and `input_bytes` are what they hold.
    """

    name: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    mult_adds: int
    input_bytes: int
    forward_backward_bytes: int
    parameter_bytes: int

    @property
    def frozen(self) -> int:
        """Parameters that training leaves alone."""
        return self.parameters - self.trainable

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: everything."""
        return {**asdict(self), "frozen": self.frozen}

    def text(self, say: Words | None = None) -> str:
        """An aligned plain-text table, totals below; `say` has its texts (English)."""
        say = say or words()
        table = [tuple(say(f"summary.{head}") for head in _HEADER), *(_cells(row, say) for row in self.rows)]
        widths = [max(_columns(line[column]) for line in table) for column in range(len(_HEADER))]
        lines = ["  ".join(_aligned(line, widths)).rstrip() for line in table]
        rule = "-" * max(map(_columns, lines))
        totals = self.totals(say)
        width = max(map(_columns, totals))
        below = [f"{_padded(name, width)}  {value}" for name, value in totals.items()]
        return "\n".join([lines[0], rule, *lines[1:], rule, *below])

    def totals(self, say: Words) -> dict[str, str]:
        """The totals by what they are called."""
        counts = {"all": self.parameters, "trainable": self.trainable, "frozen": self.frozen}
        sizes = {
            "input_size": self.input_bytes,
            "flow": self.forward_backward_bytes,
            "parameter_size": self.parameter_bytes,
        }
        sizes["total_size"] = sum(sizes.values())
        return {
            say("summary.parameters"): say("summary.some", **{name: f"{count:,}" for name, count in counts.items()}),
            say("summary.mult_adds"): f"{self.mult_adds:,}",
            **{say(f"summary.{name}"): f"{size / MEBIBYTE:.2f} MB" for name, size in sizes.items()},
        }

    def card(self) -> Card:
        """The table with its totals below."""
        say = words()
        head = [say(f"summary.{name}") for name in _HEADER]
        return Card(self.name, (Table(head, [_cells(row, say) for row in self.rows]), self.totals(say)))


def summarize(network: nn.Module, shape: tuple[int, int, int], batch: int = 1) -> Summary:
    """Pass `batch` images of `shape` (C, H, W) through `network` in evaluation mode and say what each layer did.

    Definitions. A row is a call of a module that has no children and is no `nn.Identity`, or that does arithmetic or
    holds parameters of its own; modules that were not called come last. A parameter tensor counts once.
    Multiply-adds are counted where they are executed, so a reused layer counts at every call and functional calls
    count too: a convolution and a matrix product one for each weight and output position, one for each bias added,
    both products of attention; a normalisation one for each of its parameters and image (it can be folded into its
    neighbour). Sizes are in MB of 2^20 bytes; forward/backward is twice the output of every row.

    The network is left as it was. Raises `InputError` where it does not run on such images.

    >>> layer = nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> row = summarize(nn.Sequential(layer), (3, 32, 32)).rows[0]
    >>> row.output_shape, row.parameters, row.mult_adds, row.receptive_field, row.jump
    ((1, 8, 16, 16), 224, 57344, (3, 3), (2, 2))
    """
    noise = torch.randn((batch, *shape), generator=torch.Generator().manual_seed(0), device="cpu")
    images = images_for(network, noise)
    calls: list[_Call] = []
    observer = _Observer(images)
    with untouched(network), torch.no_grad(), _observed(network, calls, observer), plain_attention(), observer:
        network.eval()
        try:
            network(images)
        except Exception as error:  # the network may be anybody's
            size = "x".join(map(str, shape))
            raise InputError(f"the network does not run on images of {size}: {' '.join(str(error).split())}") from error
    rows = _rows(network, calls)
    parameters = list(network.parameters())
    return Summary(
        name=type(network).__name__,
        rows=rows,
        parameters=sum(tensor.numel() for tensor in parameters),
        trainable=sum(tensor.numel() for tensor in parameters if tensor.requires_grad),
        mult_adds=sum(row.mult_adds for row in rows),
        input_bytes=images.numel() * images.element_size(),
        forward_backward_bytes=2 * sum(row.output_bytes for row in rows),
        parameter_bytes=sum(tensor.numel() * tensor.element_size() for tensor in parameters),
    )


@dataclass
class _Call:
    """What one call of a module did itself, without its children."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None = None
    output_bytes: int = 0
    mult_adds: int = 0
    receptive_field: Sides = (None, None)
    jump: Sides = (None, None)

    @property
    def is_row(self) -> bool:
        """Whether the call gets a row: its module is a leaf (not `nn.Identity`), or does or holds something itself."""
        is_leaf = next(self.module.children(), None) is None and not isinstance(self.module, nn.Identity)
        return is_leaf or self.mult_adds > 0 or any(True for _ in self.module.parameters(recurse=False))


class _Observer(Operations):
    """Credits each operation's multiply-adds to the innermost running call and follows the receptive fields."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.running: list[_Call] = []
        self._tracker = FieldTracker(images)

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it, count it and follow it."""
        result = func(*args, **kwargs)
        count = _MULT_ADDS.get(operation_name(func))
        if count and self.running:
            self.running[-1].mult_adds += count(arguments(func, args, kwargs), result)
        self._tracker.observe(func, args, kwargs, result)
        return result

    def fields(self, tensor: Tensor) -> tuple[Sides, Sides]:
        """Size and jump of the receptive field, each (height, width)."""
        height, width = self._tracker.field(tensor) or (None, None)
        size = (height.extent if height else None, width.extent if width else None)
        return size, (height.jump if height else None, width.jump if width else None)


@contextmanager
def _observed(network: nn.Module, calls: list[_Call], observer: _Observer) -> Iterator[None]:
    with ExitStack() as stack:
        for name, module in network.named_modules():
            entering, leaving = _hooks(name, calls, observer)
            stack.callback(module.register_forward_pre_hook(entering, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leaving).remove)
        yield


def _hooks(name: str, calls: list[_Call], observer: _Observer) -> tuple[Callable[..., None], Callable[..., None]]:
    def entering(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        images = _first_tensor((args, kwargs))
        call = _Call(name, module, None if images is None else tuple(images.shape))
        calls.append(call)
        observer.running.append(call)

    def leaving(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call, maps = observer.running.pop(), _first_tensor(output)
        if maps is not None:
            call.output_shape, call.output_bytes = tuple(maps.shape), maps.numel() * maps.element_size()
            call.receptive_field, call.jump = observer.fields(maps)

    return entering, leaving


def _first_tensor(values: Any) -> Tensor | None:
    return next((leaf for leaf in leaves(values) if isinstance(leaf, Tensor)), None)


def _rows(network: nn.Module, calls: list[_Call]) -> tuple[Row, ...]:
    counted: set[int] = set()
    seen: Counter[str] = Counter()
    rows = []
    for call in calls:
        number, seen[call.name] = seen[call.name], seen[call.name] + 1
        if call.is_row:
            rows.append(_row(call, call_name(call.name, number), counted))
    for name, module in network.named_modules():
        tensors = list(module.parameters(recurse=False))
        if name not in seen and tensors:
            rows.append(replace(_row(_Call(name, module, None), name, counted), called=False))
    return tuple(rows)


def _row(call: _Call, name: str, counted: set[int]) -> Row:
    tensors = list(call.module.parameters(recurse=False))
    new = [tensor for tensor in tensors if id(tensor) not in counted]
    counted.update(id(tensor) for tensor in new)
    kernel = getattr(call.module, "kernel_size", None)
    return Row(
        name=name or "(network)",
        kind=type(call.module).__name__,
        input_shape=call.input_shape,
        output_shape=call.output_shape,
        kernel=(kernel, kernel) if isinstance(kernel, int) else kernel and tuple(kernel),
        parameters=sum(tensor.numel() for tensor in new),
        shared=len(new) < len(tensors),
        mult_adds=call.mult_adds,
        output_bytes=call.output_bytes,
        receptive_field=call.receptive_field,
        jump=call.jump,
    )


_Count = Callable[[dict[str, Any], Any], int]


def _convolution(given: dict[str, Any], result: Any) -> int:
    moves = given["input"] if given["transposed"] else result
    positions = moves.shape[0] * prod(moves.shape[2:])
    return int(positions * given["weight"].numel() + (0 if given["bias"] is None else result.numel()))


def _product(left: str, right: str, biased: bool = False) -> _Count:
    def count(given: dict[str, Any], result: Any) -> int:
        return int(given[left].numel() * given[right].shape[-1] + biased * result.numel())

    return count


def _bias(given: dict[str, Any], result: Any) -> int:
    # A linear layer on a transposed input is a product and then the sum with its bias, a vector.
    is_vector = isinstance(given["other"], Tensor) and given["other"].ndim == 1 < result.ndim
    return int(result.numel()) if is_vector else 0


def _attention(given: dict[str, Any], result: Any) -> int:
    query, key, value = given["query"], given["key"], given["value"]
    rows = query.numel() // query.shape[-1]
    return int(rows * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _norm(given: dict[str, Any], result: Any) -> int:
    tensors = [given[name] for name in ("weight", "bias") if given[name] is not None]
    return int(given["input"].shape[0] * sum(tensor.numel() for tensor in tensors))


_MULT_ADDS: dict[str, _Count] = {
    "convolution": _convolution,
    "mm": _product("self", "mat2"),
    "bmm": _product("self", "mat2"),
    "add": _bias,
    "add_": _bias,
    "addmm": _product("mat1", "mat2", biased=True),
    "baddbmm": _product("batch1", "batch2", biased=True),
    "native_batch_norm": _norm,
    "_native_batch_norm_legit_no_training": _norm,
    "cudnn_batch_norm": _norm,
    "miopen_batch_norm": _norm,
    "native_group_norm": _norm,
    "native_layer_norm": _norm,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
}

_HEADER = ("layer", "kind", "input", "output", "kernel", "field", "step", "parameters", "mult_adds", "memory")
_WORDS = 2


def _cells(row: Row, say: Words) -> tuple[str, ...]:
    shapes = [shape[1:] if shape else None for shape in (row.input_shape, row.output_shape)]
    shared = say("summary.shared") if row.shared and not row.parameters else f"{row.parameters:,}"
    return (
        row.name,
        row.kind if row.called else say("summary.called", kind=row.kind),
        *(_by(shape) for shape in (*shapes, row.kernel, row.receptive_field, row.jump)),
        shared if row.parameters or row.shared else "-",
        f"{row.mult_adds:,}" if row.mult_adds else "-",
        f"{row.output_bytes / MEBIBYTE:.2f}",
    )


def _by(sides: tuple[int | None, ...] | None) -> str:
    """Sizes as people write them; a square field as one number, an unknown one as a dash."""
    if not sides or None in sides:
        return "-"
    return "x".join(map(str, sides))


def _aligned(line: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield _padded(cell, width) if place < _WORDS else " " * (width - _columns(cell)) + cell


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for a Chinese sign."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
