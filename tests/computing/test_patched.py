from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from cutaway.computing import patched as module
from cutaway.computing.patched import Patched, patched

Operation = Callable[[Tensor], Tensor]


def versions(
    side: tuple[int, int] = (17, 14),
    box: tuple[int, int] = (3, 2),
    channels: int = 4,
    layout: torch.memory_format = torch.contiguous_format,
) -> tuple[Patched, Tensor]:
    """The same images as boxes and written out by hand: boxes in all corners and in the middle."""
    generator = torch.Generator().manual_seed(4)
    image = torch.randn(1, channels, *side, generator=generator).contiguous(memory_format=layout)
    down, across = side[0] - box[0], side[1] - box[1]
    starts = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2), (min(1, down), min(4, across))]
    patch = torch.randn(len(starts), channels, *box, generator=generator)
    whole = image.repeat(len(starts), 1, 1, 1)
    for version, (row, column) in enumerate(starts):
        whole[version, :, row : row + box[0], column : column + box[1]] = patch[version]
    rows, columns = torch.tensor(starts).unbind(1)
    return patched(image, patch, rows, columns), whole


def conv(kernel: int, **options: int) -> Operation:
    channels = 4
    weight = torch.randn(
        6 if "groups" not in options else 8, channels // options.get("groups", 1), kernel, kernel,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    return lambda x: F.conv2d(x, weight, torch.arange(float(len(weight))), **options)


def twice_in_place(x: Tensor) -> Tensor:
    y = conv(3, padding=1)(x)
    F.relu(y, inplace=True)
    z = y + 1
    z += y
    return torch.cat([z, y], 1)


def around(x: Tensor) -> Tensor:
    """A way around: boxes of two sizes meet."""
    return torch.cat([conv(5, padding=2)(x) * 2, conv(1)(x)], 1) - torch.cat([conv(3, padding=1)(x)] * 2, 1)


KNOWN: dict[str, Operation] = {
    "3x3": conv(3, padding=1),
    "3x3 without padding": conv(3),
    "1x1": conv(1),
    "stride": conv(3, padding=1, stride=2),
    "stride beyond the kernel": conv(2, stride=3),
    "padding beyond the kernel": conv(1, padding=2),
    "dilation": conv(3, padding=2, dilation=2),
    "groups": conv(3, padding=1, groups=2),
    "depthwise": conv(3, padding=1, groups=4),
    "max pooling": lambda x: F.max_pool2d(x, 2),
    "overlapping": lambda x: F.max_pool2d(x - 5, 3, 2, 1),
    "ceiling": lambda x: F.max_pool2d(x - 5, 3, 2, ceil_mode=True),
    "dilated pooling": lambda x: F.max_pool2d(x, 2, 2, 0, 2),
    "mean pooling": lambda x: F.avg_pool2d(x, 2),
    "padding": lambda x: F.pad(x, (1, 0, 2, 3), value=7.0),
    "padding, then in place": lambda x: F.relu(F.pad(x, (1, 1, 1, 1)), inplace=True) + F.pad(x, (1, 1, 1, 1)),
    "batch norm": lambda x: F.batch_norm(x, torch.arange(4.0), torch.arange(1.0, 5)),
    "activations": lambda x: F.hardswish(F.gelu(F.silu(F.elu(F.relu6(x))))),
    "numbers": lambda x: (3 - x) / 2 + torch.tensor(4.0),
    "channels": lambda x: x * torch.arange(4.0).view(4, 1, 1) + torch.arange(4.0).view(1, 4, 1, 1),
    "in place": twice_in_place,
    "around": around,
}  # fmt: skip
UNKNOWN: dict[str, Operation] = {
    "mean": lambda x: x.mean((2, 3)),
    "gate": lambda x: x * x.mean((2, 3), keepdim=True),
    "columns": lambda x: x + torch.arange(14.0),
    "own maps": lambda x: x * torch.ones(6, 4, 17, 14),
    "one number a version": lambda x: x * torch.arange(6.0).view(6, 1, 1, 1),
    "transposed": lambda x: F.conv_transpose2d(x, torch.ones(4, 2, 3, 3), stride=2),
    "mean pooling over padding": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "reflected": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "cropped": lambda x: F.pad(x, (-1, 0, 0, 0)),
    "joined in height": lambda x: torch.cat([x, x], 2),
    "joined with another": lambda x: torch.cat([x, torch.zeros(6, 1, 17, 14)], 1),
    "group norm": lambda x: F.group_norm(x, 2),
    "norm of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "view, then in place": lambda x: (x.unsqueeze(0).add_(1), x)[1] * 2,
    "part in place": lambda x: (x[:, 1].mul_(0), x * 1)[1],
    "out": lambda x: torch.add(x, 1, out=torch.empty(6, 4, 17, 14)),
    "indexed": lambda x: x[torch.tensor([3, 1]), :, 2],
    "flat": lambda x: conv(3, padding=1)(x).flatten(1),
    "wide": conv(13, padding=6),
}  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_equals_the_images_written_out(name: str, layout: torch.memory_format) -> None:
    operation = (KNOWN | UNKNOWN)[name]
    boxes, whole = versions(layout=layout)
    with torch.no_grad():
        found, expected = operation(boxes), operation(whole.clone())
        assert isinstance(found, Patched) == (name in KNOWN)
        # Sums of some hundred float32 products, in an order that is the processor's.
        torch.testing.assert_close(
            found * 1.0 if name in UNKNOWN else found.written_out(),
            expected,
            rtol=1e-6,
            atol=1e-6 * max(10.0, float(expected.abs().max())),
        )


@pytest.mark.parametrize("box", [(1, 1), (1, 14), (17, 1), (5, 5), (17, 14)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_boxes_of_any_size_through_a_network(box: tuple[int, int], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    boxes, whole = versions(box=box, layout=layout)
    network = network.to(memory_format=layout)
    with torch.no_grad():
        torch.testing.assert_close(network(boxes.clone()), network(whole))
        torch.testing.assert_close(boxes.written_out(), whole, rtol=0, atol=0)


def test_only_what_the_box_reaches_is_computed() -> None:
    boxes, _ = versions(side=(40, 40), box=(4, 4))
    with torch.no_grad():
        once = conv(3, padding=1)(boxes)
        pooled = F.max_pool2d(once, 2)
    assert once.patch.shape[2:] == (6, 6)
    # Six pixels from an odd one on lie in four windows of two.
    assert pooled.patch.shape[2:] == (4, 4)
    assert once.shape == (6, 6, 40, 40)


def test_unpooling_fails_instead_of_going_wrong() -> None:
    boxes, _ = versions(side=(16, 16))
    with torch.no_grad():
        found, where = F.max_pool2d(boxes, 2, return_indices=True)
        with pytest.raises((RuntimeError, ValueError)):
            F.max_unpool2d(found, where, 2)


@pytest.mark.parametrize("name", [
    "resnet18", "squeezenet1_1", "densenet121", "googlenet", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny", "swin_t",
])  # fmt: skip
def test_torchvision_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, object] = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    network = get_model(name, weights=None, num_classes=5, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    boxes, whole = versions(side=(96, 96), box=(16, 12), channels=3)
    calls = []
    windowed = module._windowed
    monkeypatch.setattr(module, "_windowed", lambda *given: calls.append(given) or windowed(*given))
    with torch.no_grad():
        torch.testing.assert_close(network(boxes), network(whole), rtol=1e-4, atol=1e-4)
    assert calls
