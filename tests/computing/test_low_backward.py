"""Backward passes in bfloat16: the forward pass untouched, the gradient within a percent of the exact one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.computing.low_backward import low_backward
from cutaway.computing.small_maps import small_maps


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True))]
    return nn.Sequential(nn.Conv2d(3, 16, 3), *layers, nn.Flatten(), nn.Linear(16 * 100, 4)).requires_grad_(False)


def test_the_forward_pass_is_the_same_to_the_last_bit() -> None:
    net, images = deep(), torch.randn(2, 3, 12, 12).requires_grad_()
    with low_backward():
        found = net(images)
    assert torch.equal(found, net(images))


def test_gradients_are_near_and_not_equal() -> None:
    net, images = deep(), torch.randn(2, 3, 12, 12).requires_grad_()
    (exact,) = torch.autograd.grad(net(images)[:, 0].sum(), images)
    with low_backward():
        (found,) = torch.autograd.grad(net(images)[:, 0].sum(), images)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() / exact.norm() < 0.02


def test_tiny_maps_with_activations_in_place() -> None:
    net, images = deep()[1:-2], torch.randn(2, 16, 4, 4).requires_grad_()
    (exact,) = torch.autograd.grad(net(images).square().sum(), images)
    with small_maps(), low_backward():
        (found,) = torch.autograd.grad(net(images).square().sum(), images)
    assert 0 < (found - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), ((1, 2), (2, 0), 1), (1, 2, 2)])
def test_by_the_definition_with_numbers_that_bfloat16_holds(stride: object, padding: object, dilation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(-3, 4, (2, 16, 9, 8), generator=generator).float().requires_grad_()
    weight = torch.randint(-2, 3, (16, 16, 3, 3), generator=generator).float()
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    with low_backward():
        result = F.conv2d(images, weight, None, **options)  # type: ignore[arg-type]  # the cases above
    upstream = torch.randint(-1, 2, result.shape, generator=generator).float()
    (found,) = torch.autograd.grad(result, images, upstream)
    (exact,) = torch.autograd.grad(F.conv2d(images, weight, None, **options), images, upstream)  # type: ignore[arg-type]  # as above
    # Sums of small whole numbers: only the result's own rounding to 8 bits is left.
    assert torch.allclose(found, exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    "convolution", [nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding="same")]
)
def test_others_are_left_alone(convolution: nn.Conv2d) -> None:
    convolution.requires_grad_(False)
    images = torch.randn(1, convolution.in_channels, 8, 8).requires_grad_()
    (exact,) = torch.autograd.grad(convolution(images).square().sum(), images)
    with low_backward():
        (found,) = torch.autograd.grad(convolution(images).square().sum(), images)
    assert torch.equal(found, exact)
