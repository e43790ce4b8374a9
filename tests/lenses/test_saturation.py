"""Ends of activations: from the slopes that autograd gives, and counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.lenses.activations import activation_statistics
from cutaway.lenses.saturation import Ends, ends_of_call, ends_of_module, is_activation

MODULES = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-0.5, 2.0),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Threshold(0.5, -1.0),
    nn.Threshold(0.5, 20.0),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softsign(),
    nn.ELU(2.0),
    nn.CELU(0.5),
    nn.SELU(),
    nn.Softplus(),
    nn.LogSigmoid(),
    nn.LeakyReLU(0.1),
    nn.GELU(),
    nn.SiLU(),
    nn.Mish(),
]


def slopes(activation: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    inputs = inputs.clone().requires_grad_()
    outputs = activation(inputs)
    return outputs.detach(), torch.autograd.grad(outputs.sum(), inputs)[0]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_at_an_end_the_slope_is_nearly_zero_and_far_outside_every_end_is_reached(module: nn.Module) -> None:
    ends = ends_of_module(module)
    # Even numbers of hundredths miss the corners, where a slope is a matter of taste.
    inputs = torch.arange(-1201, 1200, 2) / 100
    outputs, slope = slopes(module, inputs)
    reached = ends.reached(outputs)
    largest = float(slope.abs().max())
    assert float(slope[reached].abs().max()) < 0.04 * largest if reached.any() else True
    if ends.exact and ends != Ends():
        assert torch.equal(reached, slope == 0)
    far, _ = slopes(module, torch.tensor([-1000.0, 1000.0]))
    assert ends.reached(far).tolist() == [ends.low is not None, ends.high is not None]


@pytest.mark.parametrize(
    ("call", "module"),
    [
        (F.relu, nn.ReLU()),
        (torch.relu, nn.ReLU()),
        (F.relu6, nn.ReLU6()),
        (lambda x: F.hardtanh(x, -0.5, max_val=2.0), nn.Hardtanh(-0.5, 2.0)),
        (F.hardsigmoid, nn.Hardsigmoid()),
        (F.hardswish, nn.Hardswish()),
        (lambda x: F.threshold(x, 0.5, -1.0), nn.Threshold(0.5, -1.0)),
        (F.sigmoid, nn.Sigmoid()),
        (torch.sigmoid, nn.Sigmoid()),
        (Tensor.sigmoid, nn.Sigmoid()),
        (torch.special.expit, nn.Sigmoid()),
        (lambda x: x.clone().sigmoid_(), nn.Sigmoid()),
        (F.tanh, nn.Tanh()),
        (torch.tanh, nn.Tanh()),
        (F.softsign, nn.Softsign()),
        (lambda x: F.elu(x, alpha=2.0), nn.ELU(2.0)),
        (lambda x: F.celu(x, 0.5), nn.CELU(0.5)),
        (F.selu, nn.SELU()),
        (F.softplus, nn.Softplus()),
        (F.logsigmoid, nn.LogSigmoid()),
        (F.leaky_relu, nn.LeakyReLU()),
        (F.gelu, nn.GELU()),
        (F.silu, nn.SiLU()),
        (F.mish, nn.Mish()),
    ],
)
def test_a_function_counts_as_its_module(call: Callable[[Tensor], Tensor], module: nn.Module) -> None:
    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x)

    images = torch.linspace(-8, 8, 72).reshape(2, 2, 3, 6)
    (function,) = activation_statistics(Calls(), [images]).values()
    (found,) = activation_statistics(nn.Sequential(module), [images]).values()
    for name in ("zero_fraction", "saturated_fraction", "saturated_channels", "mean", "min", "max"):
        assert getattr(function, name) == getattr(found, name), name
    assert function.layer.endswith("()")
    assert not function.layer.startswith("_")


def test_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU6())
    network[0].weight.data[:] = torch.tensor([1.0, 0.0, 0.0, -1.0])[:, None, None, None]
    network[0].bias.data[:] = torch.tensor([0.0, 9.0, -9.0, 0.0])
    batches = [torch.tensor([-2.0, 7.0, 3.0, 6.0]).reshape(1, 1, 2, 2), torch.full((1, 1, 2, 2), 1.0)]
    found = activation_statistics(network, batches)["1"]
    # Channels: 0 6 3 6 and 1 1 1 1; always 6; always 0; 2 0 0 0 and 0 0 0 0.
    assert found.dead_channels == (2,)
    assert found.saturated_channels == (1,)
    assert found.saturated_fraction == (3 + 8 + 8 + 7) / 32
    assert found.zero_fraction == (1 + 8 + 7) / 32
    assert (found.min, found.max) == (0, 6)


def test_a_relu_is_saturated_where_it_is_zero() -> None:
    found = activation_statistics(nn.Sequential(nn.ReLU()), [torch.randn(3, 4, 5, 5)])["0"]
    assert found.saturated_fraction == found.zero_fraction
    assert found.saturated_channels == ()


def test_squeeze_and_excite_gates_have_channels_that_are_stuck_open() -> None:
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Sigmoid())
    gate[1].weight.data.zero_()
    gate[1].bias.data[:] = torch.tensor([20.0, 0.0])
    found = activation_statistics(gate, [torch.randn(3, 2, 4, 4)])["2"]
    assert (found.source, found.saturated_channels, found.saturated_fraction) == ("1", (0,), 0.5)


def test_what_is_no_activation_has_no_ends() -> None:
    assert not is_activation(nn.Conv2d(1, 1, 1))
    assert ends_of_call(F.conv2d, (), {}) is None
    assert ends_of_module(nn.Hardtanh(-2, 3)) == Ends(-2, 3)


def test_a_pass_that_raises_counts_for_nothing() -> None:
    from cutaway.lenses.activations import ActivationTotals

    network = nn.Sequential(nn.ReLU(), nn.Linear(4, 4))
    totals = ActivationTotals(network)
    with totals.watching():
        network(torch.ones(2, 4))
    with pytest.raises(RuntimeError), totals.watching():
        network(torch.zeros(2, 5))
    assert totals.result()["0"].zero_fraction == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
