from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import NETWORKS, make, plain, some_images
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import explain
from cutaway.lenses.attribution import perturbation as module


def linear(channels: int = 2, side: int = 6, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, classes)).eval()


def weights(network: nn.Sequential, target: int, shape: tuple[int, ...]) -> Tensor:
    return network[1].weight[target].detach().view(shape)


def score(network: nn.Module, images: Tensor, target: int) -> Tensor:
    with torch.no_grad():
        return network(images)[:, target].double()


def occlusion_by_hand(
    network: nn.Module, image: Tensor, target: int, window: tuple[int, int], stride: tuple[int, int], base: Tensor
) -> Tensor:
    """A double loop over windows, then the mean over those that cover a pixel."""
    height, width = image.shape[1:]
    total, count = torch.zeros(height, width).double(), torch.zeros(height, width).double()
    row = -stride[0]
    while row + window[0] < height:
        row += stride[0]
        column = -stride[1]
        while column + window[1] < width:
            column += stride[1]
            covered = image.clone()
            part = (slice(row, row + window[0]), slice(column, column + window[1]))
            covered[:, *part] = base[:, *part]
            total[part] += float(score(network, image[None], target) - score(network, covered[None], target))
            count[part] += 1
    return total / count


@pytest.fixture(params=[1, 10**9], ids=["boxes", "in full"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST_BOXED", request.param)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", NETWORKS)
def test_occlusion_is_a_double_loop(name: str) -> None:
    network, images, base = make(name), some_images(2), torch.randn(2, 8, 8)
    for window, stride in [((3, 2), (2, 2)), ((4, 4), (3, 1))]:
        found = explain(network, images, "occlusion", [1, 2], window=window, stride=stride, baseline=base, batch=5)
        assert found.values.shape == (2, 1, 8, 8)
        for image, target in ((0, 1), (1, 2)):
            expected = occlusion_by_hand(network, images[image], target, window, stride, base)
            torch.testing.assert_close(found.values[image, 0].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("base", [0.0, 1.5])
def test_occlusion_of_a_linear_network_sums_its_weights(base: float) -> None:
    network, images = linear(), torch.randn(3, 2, 6, 6)
    parts = (weights(network, 2, (2, 6, 6)) * (images - base)).sum(1)
    pixels = explain(network, images, "occlusion", 2, window=1, stride=1, baseline=base).values[:, 0]
    torch.testing.assert_close(pixels, parts, rtol=1e-4, atol=1e-5)
    squares = explain(network, images, "occlusion", 2, window=3, stride=3, baseline=base).values[:, 0]
    expected = F.avg_pool2d(parts, 3).mul(9).repeat_interleave(3, 1).repeat_interleave(3, 2)
    torch.testing.assert_close(squares, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("either_way")
def test_the_whole_image_as_window_is_the_difference_to_the_baseline() -> None:
    network, images, base = make("residual"), some_images(2), torch.randn(2, 8, 8)
    found = explain(network, images, "occlusion", 1, window=8, baseline=base)
    difference = score(network, images, 1) - score(network, base[None], 1)
    torch.testing.assert_close(
        found.values.double(), difference.view(2, 1, 1, 1).expand(2, 1, 8, 8), rtol=1e-4, atol=1e-5
    )
    check = found.certificate.check
    torch.testing.assert_close(torch.tensor(check["score"]), score(network, images, 1).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        torch.tensor(check["covered_score"]), score(network, base[None], 1).float().expand(2), rtol=1e-5, atol=1e-6
    )


def test_windows_by_hand() -> None:
    """The score is the sum of a row 0 1 2 3 4; windows of 2 start at 0 and 2, and at 4 the edge cuts one off."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 1, bias=False))
    nn.init.ones_(network[1].weight)
    found = explain(network, torch.arange(5.0).view(1, 1, 1, 5), "occlusion", 0, window=(1, 2), stride=(1, 2))
    assert found.values.flatten().tolist() == [1, 1, 5, 5, 4]
    overlapping = explain(network, torch.arange(5.0).view(1, 1, 1, 5), "occlusion", 0, window=(1, 2), stride=1)
    assert overlapping.values.flatten().tolist() == [1, 2, 4, 6, 7]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("window", "stride"), [((5, 4), (3, 2)), ((3, 3), (3, 3)), ((4, 7), (4, 5)), ((13, 11), (1, 1))]
)
def test_occlusion_is_captums(window: tuple[int, int], stride: tuple[int, int]) -> None:
    captum = pytest.importorskip("captum.attr")
    network, images = make("dense"), torch.randn(3, 2, 14, 13)
    target = torch.tensor([0, 2, 1])
    found = explain(network, images, "occlusion", target, window=window, stride=stride, baseline=0.3, batch=7)
    theirs = captum.Occlusion(network).attribute(
        images, (2, *window), strides=(2, *stride), baselines=0.3, target=target, perturbations_per_eval=3
    )
    torch.testing.assert_close(found.values.expand_as(theirs), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("side", "window", "stride"), [(28, 5, 2), (32, 5, 2), (224, 37, 18), (4, 1, 1)])
def test_windows_for_the_size_of_the_image(side: int, window: int, stride: int) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    chosen = explain(network, torch.ones(1, 1, side, side), "occlusion", 0).certificate.parameters
    assert (chosen["window"], chosen["stride"]) == ([window, window], [stride, stride])


def test_only_boxes_are_computed_on_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = module._in_full
    monkeypatch.setattr(module, "_in_full", lambda *given: seen.append(len(given[3])) or original(*given))
    network, images = plain(), torch.randn(1, 2, 64, 64)
    network[-1] = nn.Linear(5 * 15 * 15, 3)
    check = explain(network, images, "occlusion", 0).certificate.check
    # Three windows in full, to compare with.
    assert seen == [3]
    assert check["boxes_gap"][0] < 1e-5


def test_a_network_that_reads_only_ordinary_tensors_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST_BOXED", 1)

    class ThroughNumPy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.detach().contiguous().numpy()).flatten(1)

    class Wrong(nn.Module):
        """Not the same for an image as a tensor of another kind."""

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if type(x) is Tensor else x.flatten(1) * 2

    images = some_images(2)
    for network in ThroughNumPy(), Wrong():
        values = explain(network, images, "occlusion", 3, window=1, stride=1).values
        expected = torch.zeros(2, 1, 8, 8)
        expected[:, 0, 0, 3] = images[:, 0, 0, 3]
        torch.testing.assert_close(values, expected)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_an_images_map_does_not_depend_on_its_batch_or_on_chunks(method: str) -> None:
    network, images = make("residual"), some_images(3)
    options = {"samples": 50} if method == "rise" else {}
    together = explain(network, images, method, [0, 1, 2], batch=64, **options)
    for batch in 1, 7:
        again = explain(network, images, method, [0, 1, 2], batch=batch, **options)
        torch.testing.assert_close(again.values, together.values, rtol=1e-5, atol=1e-6)
    for image in range(3):
        alone = explain(network, images[image, None], method, image, **options)
        torch.testing.assert_close(alone.values, together.values[image, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize("target", ["0:2", "0:2@3,4", "2 - 1"])
def test_units_and_differences_as_targets(method: str, target: str) -> None:
    network, images = plain(), some_images(2)
    found = explain(network, images, method, target, **({"samples": 20} if method == "rise" else {}))
    assert found.values.abs().max() > 0
    with torch.no_grad():
        maps, logits = network[0](images), network(images)
    expected = {"0:2": maps[:, 2].mean((1, 2)), "0:2@3,4": maps[:, 2, 3, 4], "2 - 1": logits[:, 2] - logits[:, 1]}
    torch.testing.assert_close(torch.tensor(found.certificate.check["score"]), expected[target], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_networks_that_work_in_place_leave_the_images(method: str) -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(128, 3))
    images = some_images(2)
    before = images.clone()
    explain(network, images, method, 1)
    assert torch.equal(images, before)


def rise_by_hand(network: nn.Module, image: Tensor, target: int, masks: Tensor, visible: float, base: float) -> Tensor:
    scores = torch.stack([score(network, (image * mask + base * (1 - mask))[None], target)[0] for mask in masks])
    return sum(
        ((s - scores.mean()) * mask.double() for s, mask in zip(scores, masks, strict=True)), torch.zeros(())
    ) / (visible * len(masks))


def test_rise_is_the_papers_sum_less_the_mean_score(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[module._Masks] = []
    draw = module._Masks.draw
    monkeypatch.setattr(module._Masks, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    network, images = make("residual"), some_images(2)
    found = explain(network, images, "rise", 1, samples=31, visible=0.3, baseline=0.7, cells=3, batch=4)
    masks = drawn[0].of(slice(0, 31))
    for image in range(2):
        expected = rise_by_hand(network, images[image], 1, masks, 0.3, 0.7)
        torch.testing.assert_close(found.values[image, 0].double(), expected, rtol=1e-4, atol=1e-6)


def masks_of(samples: int, cells: int, side: tuple[int, int] = (8, 8), visible: float = 0.5, seed: int = 0) -> Tensor:
    job = module.Job(None, torch.zeros(1, 1, *side), None, seed=seed)  # type: ignore[arg-type]  # masks need no network
    return module._Masks.draw(job, samples, cells, visible).of(slice(0, samples))


def test_masks_are_upsampled_grids_that_were_shifted() -> None:
    side, cells, samples = (10, 7), 3, 40
    generator = torch.Generator().manual_seed(0)
    grids = (torch.rand(samples, cells, cells, generator=generator) < 0.5).float()
    down = torch.randint(0, 4, (samples, 1), generator=generator).flatten().tolist()
    across = torch.randint(0, 3, (samples, 1), generator=generator).flatten().tolist()
    large = F.interpolate(grids[:, None], (16, 12), mode="bilinear", align_corners=False)[:, 0]
    expected = [large[i, r : r + 10, c : c + 7] for i, (r, c) in enumerate(zip(down, across, strict=True))]
    torch.testing.assert_close(masks_of(samples, cells, side), torch.stack(expected))


@pytest.mark.parametrize("visible", [0.2, 0.5])
def test_every_pixel_is_visible_with_the_given_probability(visible: float) -> None:
    masks = masks_of(20000, 4, (9, 9), visible)
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    assert (masks.mean(0) - visible).abs().max() < 0.015


def test_seeds() -> None:
    network, images = make("plain"), some_images(1)
    first, same, other = (explain(network, images, "rise", 1, samples=40, seed=seed).values for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_rise_of_a_constant_is_zero_and_a_constant_adds_nothing() -> None:
    network, images = linear(side=8), some_images(2)
    before = explain(network, images, "rise", 1, samples=60)
    with torch.no_grad():
        network[1].bias += 1000.0
    after = explain(network, images, "rise", 1, samples=60)
    torch.testing.assert_close(after.values, before.values, rtol=0, atol=2e-3)
    nn.init.zeros_(network[1].weight)
    flat = explain(network, images, "rise", 1, samples=60)
    assert not flat.values.any()
    assert flat.certificate.check["halves_correlation"] == [1, 1]


def test_rise_finds_the_pixels_that_count() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, :4, :4].mean((2, 3))

    found = explain(Corner(), torch.ones(1, 1, 16, 16), "rise", 0, samples=2000)
    values = found.values[0, 0]
    assert divmod(int(values.argmax()), 16) in set(itertools.product(range(4), range(4)))
    # What the corner's mean loses with a pixel far away is nothing; with its own it is near all.
    assert values[10:, 10:].abs().max() < 0.05
    assert found.certificate.check["halves_correlation"][0] > 0.95
    assert not any("more samples" in note for note in found.certificate.notes)


def test_too_few_samples_are_said() -> None:
    found = explain(make("plain"), some_images(1), "rise", 1, samples=4)
    assert any("use more samples" in note for note in found.certificate.notes)


@pytest.mark.parametrize(("method", "options", "message"), [
    ("occlusion", {"window": 0}, "window must be from 1 to the image's 8x8 pixels, found 0x0"),
    ("occlusion", {"window": (9, 2)}, "found 9x2"),
    ("occlusion", {"window": 3, "stride": 4}, "stride must be from 1 to the window's 3x3 pixels"),
    ("occlusion", {"baseline": torch.zeros(3, 8, 8)}, r"broadcasts to \(2, 8, 8\), found \(3, 8, 8\)"),
    ("rise", {"baseline": torch.zeros(4)}, r"broadcasts to \(2, 8, 8\), found \(4,\)"),
    ("rise", {"samples": 1}, "samples must be at least 2, found 1"),
    ("rise", {"cells": 9}, "cells must be from 1 to the image's shorter side of 8, found 9"),
    ("rise", {"visible": 1.0}, "visible must be above 0 and below 1"),
])  # fmt: skip
def test_options_out_of_range(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(plain(), some_images(1), method, 1, **options)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_progress_counts_to_the_end(method: str) -> None:
    told: list[tuple[str, int, int]] = []
    report: Callable[[str, int, int], None] = lambda *given: told.append(given)  # noqa: E731  # typed as it is passed
    explain(plain(), some_images(2), method, 1, progress=report, **({"samples": 50} if method == "rise" else {}))
    shares = [done / total for _, done, total in told]
    assert shares == sorted(shares)
    assert len(shares) > 2
    assert shares[-1] == 1
