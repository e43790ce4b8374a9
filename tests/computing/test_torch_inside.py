"""Each private or fragile name of torch, shown to do what we rely on: a torch that changes one fails here, by name."""

from __future__ import annotations

import gc
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

from cutaway.computing import patched, torch_inside
from cutaway.lenses import architecture, keeper, receptive, wiring
from cutaway.lenses.attribution import graph, operations

ATEN = torch.ops.aten


class Heard(TorchFunctionMode):
    """The functions that a mode sees."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


class Ran(torch_inside.Operations):
    """The operations that ran, with their arguments by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.given: list[dict[str, Any]] = []
        self.writing: list[bool] = []

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.names.append(torch_inside.operation_name(func))
        self.given.append(torch_inside.arguments(func, args, kwargs))
        self.writing.append(torch_inside.writes(func))
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("kind", "members", "strangers"),
    [
        (torch_inside.Convolution, (nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.ConvTranspose3d(1, 1, 1)), nn.Linear),
        (torch_inside.Dropout, (nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()), nn.Identity),
        (torch_inside.BatchNorm, (nn.BatchNorm1d(1), nn.BatchNorm3d(1), nn.SyncBatchNorm(1)), nn.InstanceNorm2d),
        (torch_inside.Norm, (nn.BatchNorm2d(1), nn.SyncBatchNorm(1), nn.InstanceNorm2d(1)), nn.LayerNorm),
    ],
)
def test_the_family_of_a_layer(kind: type, members: tuple[nn.Module, ...], strangers: type) -> None:
    assert all(isinstance(member, kind) for member in members)
    assert not issubclass(strangers, kind)


def test_a_block_that_no_mode_sees() -> None:
    with Heard() as heard:
        torch.zeros(1).relu()
        before = len(heard.functions)
        with torch_inside.unseen():
            _ = torch.zeros(1).relu().shape
        after = len(heard.functions)
        torch.zeros(1).relu()
    assert before == after == 2
    assert len(heard.functions) == 4


def test_a_mode_sees_the_functions_by_which_rules_know_them() -> None:
    x = torch.ones(1, 1, 3, 3)
    with Heard() as heard:
        nn.Conv2d(1, 1, 1)(x)
        nn.ReLU()(x)
        nn.MaxPool2d(2)(x)
    assert {torch.conv2d, F.relu} <= set(heard.functions)
    assert "max_pool2d" in {getattr(func, "__name__", "") for func in heard.functions}
    assert torch.conv2d is F.conv2d


def test_functions_in_place_have_the_names_that_are_looked_for() -> None:
    x, whole = torch.ones(2), torch.ones(2, dtype=torch.int64)
    with Heard() as heard:
        x += 1
        x -= 1
        x *= 2
        x /= 2
        x //= 1
        x %= 2
        x **= 2
        x[0] = 2
        x.relu_()
        F.relu_(x)
        torch.sigmoid_(x)
        x.copy_(x)
        whole &= 1
        whole |= 1
        whole ^= 1
        whole <<= 1
        whole >>= 1
    assert set(heard.functions) <= keeper._IN_PLACE
    assert len(heard.functions) >= 17
    assert not {Tensor.relu, Tensor.add, torch.relu, F.relu} & keeper._IN_PLACE


def test_leaves_and_mapped() -> None:
    nested = [1, (2, {"a": 3, "b": [4]}), None]
    assert [leaf for leaf in torch_inside.leaves(nested) if leaf is not None] == [1, 2, 3, 4]
    assert torch_inside.mapped(lambda leaf: leaf and leaf * 2, nested) == [2, (4, {"a": 6, "b": [8]}), None]


def test_version_counts_writes_in_place() -> None:
    value = torch.zeros(4)
    before = torch_inside.version(value)
    _ = value + 1
    assert torch_inside.version(value) == before
    view = value[:2]
    view.add_(1)
    assert torch_inside.version(value) == torch_inside.version(view) == before + 1


def test_memory_is_shared_by_views_alone() -> None:
    value, empty, nothing = torch.zeros(4), torch.zeros(0), torch.empty(4, device="meta")
    for one in (value, empty, nothing):
        assert torch_inside.memory(one) == torch_inside.memory(one.view(-1)) == torch_inside.memory(one.detach())
    copies = [value, value.clone(), empty, empty.clone(), nothing, nothing.clone()]
    assert len({torch_inside.memory(one) for one in copies}) == len(copies)


def test_what_is_known_about_a_tensor_goes_with_it() -> None:
    about, kept, gone = torch_inside.about_tensors(), torch.zeros(2), torch.zeros(2)
    about[kept], about[gone] = "kept", "gone"
    assert (about.get(kept), about.get(gone), about.get(torch.zeros(2))) == ("kept", "gone", None)
    del gone
    gc.collect()
    assert list(about.values()) == ["kept"]


class Hollow(Tensor):
    calls: list[str] = []  # noqa: RUF012  # of the class, on purpose

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.calls.append(torch_inside.operation_name(func))
        return torch.ones(1)


def test_a_tensor_without_data() -> None:
    like = torch.empty(2, 3, 4, 4, device="meta").contiguous(memory_format=torch.channels_last)
    made = torch_inside.without_data(Hollow, like, torch.bfloat16, torch.device("cpu"))
    assert isinstance(made, Hollow)
    assert (made.shape, made.stride(), made.dtype) == (like.shape, like.stride(), torch.bfloat16)
    assert made.device.type == "cpu"
    assert (made + 1).tolist() == [1.0]
    assert Hollow.calls == ["add"]


def test_operations_by_name_with_all_their_arguments() -> None:
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    with torch.no_grad(), Ran() as ran:
        F.conv2d(x, weight)
        F.max_pool2d(x, 2)
        x.add_(1)
    assert ran.names == ["convolution", "max_pool2d_with_indices", "add_"]
    assert ran.writing == [False, False, True]
    convolution, pool, added = ran.given
    assert convolution["input"] is x
    assert (convolution["bias"], convolution["stride"], convolution["groups"]) == (None, [1, 1], 1)
    assert (pool["kernel_size"], set(pool["padding"]), set(pool["dilation"])) == ([2, 2], {0}, {1})
    assert pool["ceil_mode"] is False
    assert (added["self"], added["other"], added["alpha"]) == (x, 1, 1)


def test_an_operation_takes_its_arguments_by_name() -> None:
    class ByName(torch_inside.Operations):
        def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return func(**torch_inside.arguments(func, args, kwargs))

    x, weight = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    with ByName():
        found = F.conv2d(x, weight), F.avg_pool2d(x, 2), F.pad(x, (1, 0)), torch.cat([x, x], 1)
    expected = F.conv2d(x, weight), F.avg_pool2d(x, 2), F.pad(x, (1, 0)), torch.cat([x, x], 1)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def parameters(name: str) -> set[str]:
    packet = getattr(ATEN, name)
    return {argument.name for over in packet.overloads() for argument in getattr(packet, over)._schema.arguments}


TABLES = {
    "receptive": {*receptive._RULES, *receptive._EVERY_OUTPUT, *receptive._CONSTANT},
    "wiring": set(wiring._RULES),
    "architecture": set(architecture._MULT_ADDS),
    "patched": set(patched._RULES),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_operation_that_has_a_rule_exists(table: str) -> None:
    assert [name for name in sorted(TABLES[table]) if not hasattr(ATEN, name)] == []


NAMED = {
    "input weight bias stride padding dilation transposed groups": "convolution",
    "input weight bias running_var": "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm "
    "miopen_batch_norm",
    "input running_mean training": "native_batch_norm",
    "input weight bias": "native_layer_norm native_group_norm linear",
    "self kernel_size stride padding": "max_pool2d_with_indices avg_pool2d",
    "dilation ceil_mode": "max_pool2d_with_indices",
    "ceil_mode count_include_pad divisor_override": "avg_pool2d",
    "self mat2": "mm bmm",
    "mat1 mat2": "addmm",
    "batch1 batch2": "baddbmm",
    "query key value": "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention",
    "self other alpha": "add sub",
    "self other": "mul div",
    "self dim": "mean sum amax amin var std _softmax _log_softmax squeeze unbind select",
    "self dim start end step": "slice",
    "self split_size dim": "split",
    "self split_sizes dim": "split_with_sizes",
    "self dim0 dim1": "transpose",
    "self dims": "permute",
    "tensors dim": "cat",
    "self pad value": "constant_pad_nd",
    "self padding": "reflection_pad2d replication_pad2d",
    "self index": "select",
    "normalized_shape": "native_layer_norm",
}


@pytest.mark.parametrize(
    ("name", "needed"), [(name, needed) for needed, names in NAMED.items() for name in names.split()]
)
def test_the_arguments_that_rules_read(name: str, needed: str) -> None:
    assert set(needed.split()) <= parameters(name)


@pytest.mark.parametrize("name", [name for name, rule in wiring._RULES.items() if rule is wiring._norm])
def test_the_small_number_of_a_norm_has_one_of_two_names(name: str) -> None:
    assert len({"eps", "epsilon"} & parameters(name)) == 1


@pytest.mark.parametrize("name", [name for name, rule in operations._RULES.items() if rule == "_max_pool"])
def test_the_parameters_of_a_pooling(name: str) -> None:
    call = operations.bound(torch_inside.pooling_signature(name), (torch.zeros(1), 2), {})
    assert call["input"].shape == (1,)
    assert call["return_indices"] is False
    assert call["output_size" if "adaptive" in name else "kernel_size"] == 2


def test_attention_in_its_parts() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    x = torch.zeros(1, 3, 4)
    with torch.no_grad(), Ran() as fused:
        attention(x, x, x)
    with torch.no_grad(), torch_inside.plain_attention(), Ran() as plain:
        attention(x, x, x)
    assert "_native_multi_head_attention" in fused.names
    assert "_native_multi_head_attention" not in plain.names
    with pytest.raises(RuntimeError), torch_inside.plain_attention():
        torch.zeros(2) @ torch.zeros(3)
    assert torch.backends.mha.get_fastpath_enabled()


IMAGE = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
MATRIX = torch.ones(4, 4)
# One way to each kind of node, for those that a CPU's float32 reaches.
NODES: dict[str, Callable[[Tensor], Tensor]] = {
    "View": lambda x: x.view(-1),
    "Permute": lambda x: x.permute(0, 1, 3, 2),
    "Transpose": lambda x: x.transpose(2, 3),
    "T": lambda x: x.view(4, 4).t(),
    "Unsqueeze": lambda x: x.unsqueeze(0),
    "Squeeze": lambda x: x.squeeze(0),
    "Expand": lambda x: x.expand(2, 1, 4, 4),
    "Slice": lambda x: x[1:],
    "Select": lambda x: x[0],
    "Split": lambda x: x.split(2, 2)[0],
    "SplitWithSizes": lambda x: x.split([1, 3], 2)[0],
    "Unbind": lambda x: x.unbind(2)[0],
    "Index": lambda x: x[..., torch.tensor([0, 1])],
    "IndexSelect": lambda x: x.index_select(2, torch.tensor([0])),
    "Gather": lambda x: x.gather(2, torch.zeros(1, 1, 1, 1, dtype=torch.int64)),
    "Cat": lambda x: torch.cat([x, x]),
    "Stack": lambda x: torch.stack([x, x]),
    "Clone": lambda x: x.clone(),
    "CopySlices": lambda x: _into(x),
    "ToCopy": lambda x: x.double(),
    "Alias": lambda x: torch.ops.aten.alias(x),
    "AsStrided": lambda x: x.as_strided((2, 2), (1, 1)),
    "ConstantPadNd": lambda x: F.pad(x, (1, 1)),
    "ReflectionPad2D": lambda x: F.pad(x, (1, 1, 1, 1), "reflect"),
    "ReplicationPad2D": lambda x: F.pad(x, (1, 1, 1, 1), "replicate"),
    "Roll": lambda x: x.roll(1),
    "Flip": lambda x: x.flip(2),
    "Repeat": lambda x: x.repeat(2, 1, 1, 1),
    "Diagonal": lambda x: x.view(4, 4).diagonal(),
    "Unfold": lambda x: x.unfold(2, 2, 1),
    "Im2Col": lambda x: F.unfold(x, 2),
    "PixelShuffle": lambda x: F.pixel_shuffle(x.view(1, 4, 2, 2), 2),
    "Convolution": lambda x: F.conv2d(x, torch.ones(1, 1, 2, 2)),
    "Addmm": lambda x: F.linear(x.view(4, 4), MATRIX, torch.ones(4)),
    "Mm": lambda x: x.view(4, 4) @ MATRIX,
    "Bmm": lambda x: torch.bmm(x.view(1, 4, 4), MATRIX[None]),
    "Mv": lambda x: x.view(4, 4) @ torch.ones(4),
    "Baddbmm": lambda x: torch.baddbmm(torch.ones(1, 4, 4), x.view(1, 4, 4), MATRIX[None]),
    "AvgPool2D": lambda x: F.avg_pool2d(x, 2),
    "AdaptiveAvgPool2D": lambda x: F.adaptive_avg_pool2d(x, 2),
    "Mean": lambda x: x.mean(),
    "Sum": lambda x: x.sum(),
    "UpsampleNearest2D": lambda x: F.interpolate(x, scale_factor=2),
    "UpsampleBilinear2D": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "UpsampleBicubic2D": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "MaskedFill": lambda x: x.masked_fill(x > 3, 0),
    "Where": lambda x: torch.where(x > 3, x, 0.0),
    "Add": lambda x: x + 1,
    "Sub": lambda x: x - 1,
    "Rsub": lambda x: 1 - x,
    "Neg": lambda x: -x,
    "Mul": lambda x: x * 2,
    "Div": lambda x: x / 2,
    "MaxPool2DWithIndices": lambda x: F.max_pool2d(x, 2),
    "AdaptiveMaxPool2D": lambda x: F.adaptive_max_pool2d(x, 2),
    "Max": lambda x: x.max(),
    "Min": lambda x: x.min(),
    "Maximum": lambda x: torch.maximum(x, torch.zeros(1)),
    "Amax": lambda x: x.amax(2),
    "Topk": lambda x: x.topk(2).values,
    "Sort": lambda x: x.sort().values,
    # These have no rule: they must not be taken for one that has.
    "Relu": lambda x: x.relu(),
    "Sigmoid": lambda x: x.sigmoid(),
    "Softmax": lambda x: x.softmax(1),
    "Ruled": lambda x: operations.ruled(x, x.detach()),
}


def _into(x: Tensor) -> Tensor:
    whole = torch.zeros(1, 1, 4, 4)
    whole[:, :, :2] = x[:, :, :2]
    return whole


@pytest.mark.parametrize("name", NODES)
def test_the_name_of_a_node(name: str) -> None:
    # The result is held, because the node of a function written in Python may not outlive it.
    result = NODES[name](IMAGE.clone().requires_grad_())
    assert torch_inside.node_name(result.grad_fn) == name
    if name not in ("Relu", "Sigmoid", "Softmax", "Ruled"):
        assert name in {*graph._LINEAR.split(), *graph.MAXIMA.split()}


def test_the_leaf_of_a_graph_and_the_order_of_inputs() -> None:
    x = torch.ones(2, requires_grad=True)
    product = torch.ones(2) * x.exp()
    nothing, exponential = torch_inside.inputs_of(product.grad_fn)
    assert nothing is None
    assert torch_inside.node_name(exponential) == "Exp"
    assert [torch_inside.node_name(node) for node in torch_inside.inputs_of(exponential)] == ["AccumulateGrad"]


def test_the_dicts_of_a_module() -> None:
    norm = nn.BatchNorm2d(2)
    module = nn.Sequential(norm, norm)
    assert list(torch_inside.own_parameters(norm)) == ["weight", "bias"]
    assert list(torch_inside.own_buffers(norm)) == ["running_mean", "running_var", "num_batches_tracked"]
    assert torch_inside.own_parameters(module) == torch_inside.own_buffers(module) == {}
    assert list(torch_inside.own_children(module).items()) == [("0", norm), ("1", norm)]
    new = nn.Identity()
    torch_inside.own_children(module)["1"] = new
    assert module[1] is new
    assert "weight" not in torch_inside.own_parameters(parametrizations.weight_norm(nn.Linear(2, 2)))


def test_buffers_can_be_exchanged_as_restoring_does() -> None:
    norm = nn.BatchNorm2d(2)
    kept = dict(norm._buffers)
    norm.running_mean = torch.ones(2)
    norm._buffers.clear()
    norm._buffers.update(kept)
    assert norm.running_mean is kept["running_mean"]


def hooked() -> Iterator[tuple[str, Callable[[nn.Module], Any]]]:
    yield "forward", lambda module: module.register_forward_hook(lambda *_: None)
    yield "before", lambda module: module.register_forward_pre_hook(lambda *_: None)
    yield "backward", lambda module: module.register_full_backward_hook(lambda *_: None)
    yield "before backward", lambda module: module.register_full_backward_pre_hook(lambda *_: None)


@pytest.mark.parametrize(("name", "register"), list(hooked()))
def test_hooks_are_seen(name: str, register: Callable[[nn.Module], Any]) -> None:
    module = nn.Linear(1, 1)
    assert not torch_inside.has_hooks(module)
    handle = register(module)
    assert torch_inside.has_hooks(module), name
    handle.remove()
    assert not torch_inside.has_hooks(module)


def test_a_plain_module() -> None:
    class Padded(nn.Conv2d):
        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return super()._conv_forward(F.pad(input, (1, 1, 1, 1)), weight, bias)

    exchanged = nn.Conv2d(1, 1, 1)
    exchanged.forward = lambda images: images
    assert torch_inside.is_plain_convolution(nn.Conv2d(1, 1, 1))
    assert not torch_inside.is_plain_convolution(Padded(1, 1, 1))
    assert not torch_inside.is_plain_convolution(exchanged)
    assert torch_inside.is_plain(nn.BatchNorm2d(1), nn.BatchNorm2d)


def test_what_compile_wraps() -> None:
    network = nn.Linear(1, 1)
    wrapped = torch.compile(network)
    assert torch_inside.uncompiled(wrapped) is network
    assert torch_inside.uncompiled(network) is None
    assert list(wrapped.state_dict()) == [f"{torch_inside.COMPILED}weight", f"{torch_inside.COMPILED}bias"]


def test_a_restricted_load_refuses_code() -> None:
    held = io.BytesIO()
    torch.save({"weights": print}, held)
    held.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        torch.load(held, weights_only=True)
