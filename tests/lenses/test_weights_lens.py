import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.errors import InputError
from cutaway.lenses.weights import conv_names, gradients, kernels, layer_names, weight_names


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3))


IMAGES, TARGETS = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1])


def test_listings() -> None:
    network = small()
    assert layer_names(network) == ["0", "1", "2", "3", "4"]
    assert weight_names(network) == ["0", "4"]
    assert conv_names(network) == ["0"]


def test_kernels_are_a_copy() -> None:
    network = small()
    found = kernels(network, "0")
    assert torch.equal(found, network[0].weight)
    found.zero_()
    assert network[0].weight.any()


def test_kernels_only_of_convolutions() -> None:
    with pytest.raises(InputError, match=r"layer '4' is a Linear and has no kernels; 2-D convolutions near it: '0'"):
        kernels(small(), "4")
    with pytest.raises(InputError, match="layer '9' is not in Sequential"):
        kernels(small(), "9")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_are_those_of_backward(reduction: str) -> None:
    network, twin = small(), small().eval()
    F.cross_entropy(twin(IMAGES), TARGETS, reduction=reduction).backward()
    found = gradients(network, IMAGES, TARGETS, reduction=reduction)  # type: ignore[arg-type]  # a parameter of the test
    assert list(found) == ["0", "4"]
    torch.testing.assert_close(found["0"], twin[0].weight.grad)
    torch.testing.assert_close(found["4"], twin[4].weight.grad)


def test_gradient_by_finite_differences() -> None:
    network = small().double()
    found = gradients(network, IMAGES.double(), TARGETS, ["0"])["0"]
    network.eval()
    for index in ((0, 0, 0, 0), (1, 0, 2, 1)):
        losses = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                network[0].weight[index] += step
                losses.append(float(F.cross_entropy(network(IMAGES.double()), TARGETS)))
                network[0].weight[index] -= step
        assert float(found[index]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


def test_gradients_leave_grad_flags_and_frozen_weights_alone() -> None:
    network = small().train()
    network.requires_grad_(False)
    network[4].weight.grad = torch.ones(3, 8)
    mean = network[1].running_mean.clone()
    for context in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with context:
            assert gradients(network, IMAGES, TARGETS)["0"].abs().sum() > 0
    assert not any(value.requires_grad for value in network.parameters())
    assert torch.equal(network[4].weight.grad, torch.ones(3, 8))
    assert network[0].weight.grad is None
    assert network.training
    assert network[1].training
    assert torch.equal(network[1].running_mean, mean)


def test_layers_without_a_weight_or_a_use() -> None:
    with pytest.raises(InputError, match=r"layer '2' is a ReLU and has no weight; layers with one: '"):
        gradients(small(), IMAGES, TARGETS, ["2"])
    network = small()
    network[0].unused = nn.Conv2d(1, 1, 1)
    assert list(gradients(network, IMAGES, TARGETS)) == ["0", "4"]
    with pytest.raises(InputError, match=r"layer '0.unused' has no gradient"):
        gradients(network, IMAGES, TARGETS, ["0.unused"])
