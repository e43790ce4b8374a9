from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.computing.small_maps import LARGEST_MAP, matrix_conv2d, small_maps

SHAPES = [  # images, in, out, side, kernel, stride, padding
    (3, 5, 7, 4, 3, 1, 1),
    (2, 4, 6, 1, 3, 1, 1),
    (2, 4, 6, 2, 3, 1, 1),
    (2, 4, 6, 4, 3, 2, 1),
    (2, 4, 6, 4, 1, 2, 0),
    (2, 4, 6, 5, 5, 2, 2),
    (1, 4, 6, 1, 7, 1, 3),
    (2, 3, 4, 6, 3, 1, 0),
    (2, 3, 4, 4, 2, 1, 1),
    (1, 2, 3, 3, 5, 1, 2),
    (2, 3, 4, 5, 2, 2, 0),
    (1, 2, 3, 7, 3, 3, 1),
]


@pytest.mark.parametrize(("images", "inputs", "outputs", "side", "kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_conv2d_with_all_gradients(
    images: int, inputs: int, outputs: int, side: int, kernel: int, stride: int, padding: int, with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.double, generator=generator).requires_grad_()

    x, weight = draw(images, inputs, side, side), draw(outputs, inputs, kernel, kernel)
    given = [x, weight, draw(outputs)] if with_bias else [x, weight]
    bias = given[2] if with_bias else None
    expected = F.conv2d(x, weight, bias, stride, padding)
    found = matrix_conv2d(x, weight, bias, (stride, stride), (padding, padding))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn(expected.shape, dtype=torch.double, generator=generator)
    for a, b in zip(
        torch.autograd.grad(found, given, upstream), torch.autograd.grad(expected, given, upstream), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_by_hand() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    ones = torch.ones(1, 1, 3, 3)
    # Every 3x3 window around a pixel of a 2x2 map holds all four pixels: 0 + 1 + 2 + 3.
    assert matrix_conv2d(x, ones, None, (1, 1), (1, 1)).tolist() == [[[[6.0, 6.0], [6.0, 6.0]]]]


def test_takes_over_only_tiny_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def spy(x: torch.Tensor, *rest: object) -> torch.Tensor:
        taken.append(x.shape[-1])
        return matrix_conv2d(x, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr("cutaway.computing.small_maps.matrix_conv2d", spy)
    layer = nn.Conv2d(16, 4, 3, padding=1)
    side = int(LARGEST_MAP**0.5)
    with small_maps():
        layer(torch.zeros(1, 16, side, side))
        layer(torch.zeros(1, 16, side + 1, side + 1))
        nn.Conv2d(16, 16, 3, padding=1, groups=2)(torch.zeros(1, 16, 2, 2))
        nn.Conv2d(16, 4, 3, padding=2, dilation=2)(torch.zeros(1, 16, 2, 2))
        nn.Conv2d(16, 4, 3, padding="same")(torch.zeros(1, 16, 2, 2))
        layer(torch.zeros(16, 2, 2))
    layer(torch.zeros(1, 16, 2, 2))
    assert taken == [side]


def test_a_network_with_inplace_relu_learns_the_same() -> None:
    def gradient(inside: bool) -> torch.Tensor:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 2, 3))
        x = torch.randn(4, 16, 3, 3)
        if inside:
            with small_maps():
                network(x).square().sum().backward()
        else:
            network(x).square().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]  # just computed

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-4, atol=1e-5)


def test_autocast_computes_in_bfloat16() -> None:
    layer = nn.Conv2d(16, 4, 3, padding=1)
    x = torch.randn(2, 16, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        with small_maps():
            found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    found.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
