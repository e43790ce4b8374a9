"""Score-CAM and Ablation-CAM: by their definitions, one pass for every channel and image, and beside their peers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import explain
from cutaway.lenses.attribution.cams import look
from cutaway.lenses.attribution.method import Job
from cutaway.lenses.attribution.scored_cams import _Ablation
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import parse_target

CLASSES = torch.tensor([2, 0, 1])


class Residual(nn.Module):
    """A layer with a way around it, added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        out += x
        return F.relu(out, inplace=True)


class Dense(nn.Module):
    """A layer with a way around it that is concatenated: no broadcasting there."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.inner(x)], 1)[:, 2:6]


class Bound(nn.Module):
    """Takes the batch size from the image, not from what reaches it."""

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        return self.head(self.inner(x).reshape(count, -1))

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(144, 3)


def network_with(block: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    middle = nn.Identity() if block is None else block
    head = [nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5, 3)]
    # In double precision, because differences of scores lose digits.
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), middle, *head).eval().double()


def some_images(count: int = 3) -> Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(5)).double()


def assert_near(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@torch.no_grad()
def slow_score_cam(network: nn.Sequential, depth: int, image: Tensor, number: int) -> Tensor:
    maps = network[:depth](image[None])[0]
    scores = []
    for channel in maps:
        mask = F.interpolate(channel[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        spread = mask.max() - mask.min()
        mask = (mask - mask.min()) / spread if spread > 0 else torch.zeros_like(mask)
        scores.append(float(network((image * mask)[None])[0, number]))
    weights = np.exp(scores) / np.exp(scores).sum()
    return sum(weight * channel.double() for weight, channel in zip(weights, maps, strict=True))


@torch.no_grad()
def slow_ablation_cam(network: nn.Sequential, depth: int, image: Tensor, number: int) -> Tensor:
    maps = network[:depth](image[None])
    score = float(network[depth:](maps)[0, number])
    total = torch.zeros(maps.shape[2:], dtype=torch.double)
    for channel in range(maps.shape[1]):
        without = maps.clone()
        without[0, channel] = 0
        total += (score - float(network[depth:](without)[0, number])) * maps[0, channel].double()
    return total


@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize(("method", "slow"), [("score-cam", slow_score_cam), ("ablation-cam", slow_ablation_cam)])
def test_the_definition(method: str, slow: Any, layer: int) -> None:
    network, images = network_with(), some_images()
    expected = torch.stack([slow(network, layer + 1, images[i], int(CLASSES[i])) for i in range(3)])
    assert_near(explain(network, images, method, CLASSES, str(layer)).values[:, 0], expected)


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_chunks_and_batches_change_nothing(method: str) -> None:
    network, images = network_with(), some_images()
    whole = explain(network, images, method, CLASSES, "1").values
    for batch in (1, 2, 3):
        assert_near(explain(network, images, method, CLASSES, "1", batch=batch).values, whole, 1e-6)
    single = [explain(network, images[i : i + 1], method, int(CLASSES[i]), "1").values for i in range(3)]
    assert_near(torch.cat(single), whole, 1e-6)


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_flat_maps_give_zeros(method: str) -> None:
    network = network_with()
    network[0].weight.data.zero_(), network[0].bias.data.fill_(-1)
    found = explain(network, some_images(), method, CLASSES, "1")
    assert torch.equal(found.values, torch.zeros(3, 1, 6, 6))


def test_a_flat_map_that_is_not_zero_hides_the_image() -> None:
    network, images = network_with(), some_images(1)
    network[0].weight.data[1], network[0].bias.data[1] = 0, 2
    assert_near(
        explain(network, images, "score-cam", 0, "1").values[:, 0], slow_score_cam(network, 2, images[0], 0)[None]
    )


def test_ablation_by_hand() -> None:
    # Logit = 3 mean(x) - 2 mean(2 x) + 7: without its channel a score loses 3 mean(x), or gains 4 mean(x).
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    network[0].weight.data = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    network[3].weight.data, network[3].bias.data = torch.tensor([[3.0, -2.0]]), torch.tensor([7.0])
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    found = explain(network, image, "ablation-cam", 0, "0")
    assert torch.allclose(found.values, 3 * 7.5 * image - 4 * 7.5 * 2 * image)
    assert found.scores.item() == pytest.approx(7 - 7.5)
    assert found.heat(signed=True).min() < 0


@pytest.mark.parametrize(("block", "alone"), [(Residual, True), (Dense, False)])
def test_a_way_around_the_layer(block: type[nn.Module], alone: bool) -> None:
    network, images = network_with(block()), some_images()
    with opened(network) as forward:
        job = Job(forward, images, parse_target(CLASSES), "2.inner")
        assert _Ablation(job, look(job)).alone is alone
    found = explain(network, images, "ablation-cam", CLASSES, "2.inner")
    with torch.no_grad():
        for image, number in enumerate(CLASSES.tolist()):
            before = network[:2](images[image, None])
            maps = network[2].inner(before)
            total = torch.zeros(6, 6).double()
            for channel in range(4):
                without = maps.clone()
                without[0, channel] = 0
                after = F.relu(without + before) if alone else torch.cat([before, without], 1)[:, 2:6]
                total += (found.scores[image] - network[3:](after)[0, number]) * maps[0, channel]
            assert_near(found.values[image, 0], total)
    assert max(found.certificate.check["replay_gap"]) < 1e-5


def test_a_network_that_binds_the_batch_size() -> None:
    torch.manual_seed(0)
    network, images = Bound().eval().double(), some_images()
    found = explain(network, images, "ablation-cam", CLASSES, "inner")
    maps = network.inner(images).detach()
    slow = torch.zeros(3, 6, 6).double()
    for image, number in enumerate(CLASSES.tolist()):
        for channel in range(4):
            # With a linear head a channel's loss is its part of the logit.
            lost = network.head.weight[number].reshape(4, 6, 6)[channel].mul(maps[image, channel]).sum()
            slow[image] += (lost * maps[image, channel]).detach()
    assert_near(found.values[:, 0], slow)


def test_what_comes_before_the_layer_runs_once_for_many_channels() -> None:
    network, images = network_with(), some_images(1)
    sizes: list[int] = []
    network[0].register_forward_hook(lambda _module, args, _output: sizes.append(len(args[0])))
    explain(network, images, "ablation-cam", 0, "1")
    assert len(sizes) <= 6
    assert sizes.count(1) >= len(sizes) - 1


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_progress_reaches_the_end(method: str) -> None:
    seen: list[tuple[str, int, int]] = []
    explain(network_with(), some_images(), method, CLASSES, "1", progress=lambda *step: seen.append(step), batch=2)
    assert {label for label, _, _ in seen} == {method}
    assert all(0 < done <= total for _, done, total in seen)
    assert seen[-1][1] == seen[-1][2]


def test_a_target_before_the_layer() -> None:
    with pytest.raises(InputError, match="does not depend on layer '3'"):
        explain(network_with(), some_images(), "ablation-cam", "0:1", "3")


# ---- peers ----------------------------------------------------------------------------------------------------------


def of_grad_cam_package(name: str, network: nn.Module, layer: nn.Module, images: Tensor) -> np.ndarray:
    package = pytest.importorskip("pytorch_grad_cam")
    targets = [package.utils.model_targets.ClassifierOutputTarget(int(number)) for number in CLASSES]
    with getattr(package, name)(network, [layer]) as peer:
        peer.activations_and_grads(images)
        maps = peer.activations_and_grads.activations[0].numpy()
        return peer.get_cam_image(images, layer, targets, maps, None)


def test_agreement_on_score_cam() -> None:
    """At a layer of the images' size; elsewhere peers differ in how they upsample.

    grad-cam 1.5.7 aligns corners, torch-cam 0.5.0 scales to 0 .. 1 before it upsamples, the paper after.
    """
    network, images = network_with(), some_images()
    found = explain(network, images, "score-cam", CLASSES, "1").values[:, 0]
    assert_near(found, of_grad_cam_package("ScoreCAM", network, network[1], images))
    methods = pytest.importorskip("torchcam.methods")
    with methods.ScoreCAM(network, "1") as peer, torch.no_grad():
        network(images)
        assert_near(found, peer(CLASSES.tolist(), normalized=False)[0])


def test_agreement_on_ablation_cam() -> None:
    """grad-cam 1.5.7 divides by the score, as the paper does: a negative score turns its map over."""
    network, images = network_with(), some_images()
    found = explain(network, images, "ablation-cam", CLASSES, "1")
    expected = torch.as_tensor(of_grad_cam_package("AblationCAM", network, network[1], images))
    assert_near(found.values[:, 0], expected * found.scores[:, None, None])


@pytest.mark.xfail(reason="grad-cam 1.5.7 sets a channel to min - 1e7 instead of zero where the lowest value is not 0")
def test_agreement_on_ablation_cam_where_maps_are_negative() -> None:
    network, images = network_with(), some_images()
    found = explain(network, images, "ablation-cam", CLASSES, "4")
    expected = torch.as_tensor(of_grad_cam_package("AblationCAM", network, network[4], images))
    assert_near(found.values[:, 0], expected * found.scores[:, None, None])


def test_agreement_on_ablation_with_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    network, images = network_with(), some_images()
    mask = torch.arange(4).reshape(1, 4, 1, 1).expand(1, 4, 6, 6)
    lost = captum.LayerFeatureAblation(network, network[0]).attribute(images, target=CLASSES, layer_mask=mask)
    maps = network[0](images).detach()
    assert_near(
        explain(network, images, "ablation-cam", CLASSES, "0").values[:, 0], (lost[:, :, :1, :1] * maps).sum(1).detach()
    )
