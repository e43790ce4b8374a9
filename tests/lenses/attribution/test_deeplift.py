"""DeepLift: by double loops, by completeness on every kind of operation, and beside Captum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from tiny_networks import NETWORKS, Residual, alive, find, make, plain, some_images, torchvision_network
from torch import Tensor, nn
from torchvision.models import list_models

from cutaway.errors import InputError
from cutaway.lenses.attribution import deeplift, explain
from cutaway.models import build

DEEPLIFT = deeplift.METHODS["deeplift"]


def closeness(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def slow_rescale(weights: list[Tensor], image: list[float], start: list[float], target: int) -> list[float]:
    """A bias-free dense ReLU network, unit by unit: forward for both, then the multipliers back."""

    def forward(x: list[float]) -> tuple[list[list[float]], list[list[float]]]:
        before, after = [], [x]
        for weight in weights:
            sums = [sum(float(w) * one for w, one in zip(row, after[-1], strict=True)) for row in weight]
            before.append(sums)
            after.append([max(0.0, one) for one in sums])
        return before, after

    (sums, outputs), (sums0, outputs0) = forward(image), forward(start)
    multipliers = [1.0 if j == target else 0.0 for j in range(len(sums[-1]))]
    for k in reversed(range(len(weights))):
        if k < len(weights) - 1:
            for j in range(len(multipliers)):
                change = sums[k][j] - sums0[k][j]
                multipliers[j] *= (outputs[k + 1][j] - outputs0[k + 1][j]) / change
        columns = range(weights[k].shape[1])
        multipliers = [sum(float(weights[k][j, i]) * multipliers[j] for j in range(len(multipliers))) for i in columns]
    return [m * (a - b) for m, a, b in zip(multipliers, image, start, strict=True)]


def test_against_double_loops() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Linear(6, 5, bias=False),
        nn.ReLU(),
        nn.Linear(5, 4, bias=False),
        nn.ReLU(),
        nn.Linear(4, 3, bias=False),
    ]
    network = nn.Sequential(nn.Flatten(), *layers)
    image, start = torch.randn(1, 1, 2, 3), torch.randn(1, 2, 3)
    found = find(network, image, DEEPLIFT, 2, baseline=start)
    weights = [network[i].weight.detach() for i in (1, 3, 5)]
    expected = slow_rescale(weights, image.flatten().tolist(), start.flatten().tolist(), 2)
    assert torch.allclose(found.values.flatten(), torch.tensor(expected), atol=1e-6)


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1))


ONE = torch.tensor([[[[2.0, -1.0]]]])


@pytest.mark.parametrize(
    ("function", "baseline", "expected"),
    [
        # relu(x0 + x1 + 1) goes from 0 to 2 while the sum goes from -1 to 2: each difference times 2 / 3.
        (lambda x: F.relu(x.sum(1, keepdim=True) + 1), -1.0, [3 * 2 / 3, 0.0]),
        # x0 * x1 from 1 to -2: 3 * mean(-1, -1) and 0 * mean(2, -1).
        (lambda x: x[:, :1] * x[:, 1:], -1.0, [-3.0, 0.0]),
        # x0 * x1 from 9 to -2: -1 * mean(-1, 3) and -4 * mean(2, 3).
        (lambda x: x[:, :1] * x[:, 1:], 3.0, [-1.0, -10.0]),
        # The larger maximum is the baseline's first: it alone takes the difference.
        (lambda x: x.amax(1, keepdim=True), 5.0, [-3.0, 0.0]),
        # 1 / x0 from 1 to 1/2.
        (lambda x: 1 / x[:, :1], 1.0, [-0.5, 0.0]),
        (lambda x: x[:, :1] ** 2 - x[:, 1:], 1.0, [3.0, 2.0]),
    ],
)
def test_by_hand(function: Any, baseline: float, expected: list[float]) -> None:
    found = find(Function(function), ONE, DEEPLIFT, 0, baseline=baseline)
    assert torch.allclose(found.values.flatten(), torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 0.7, "image"])
@pytest.mark.parametrize("name", NETWORKS)
def test_attributions_sum_to_the_difference_of_the_scores(name: str, baseline: float | str) -> None:
    network, images = make(name), some_images()
    start = some_images(1, seed=9)[0] if baseline == "image" else baseline
    found = find(network, images, DEEPLIFT, [0, 1, 2], baseline=start)
    with torch.no_grad():
        begin = start if isinstance(start, Tensor) else torch.full_like(images[0], start)
        scores, before = network(images).diagonal(), network(begin.expand_as(images)).diagonal()
    assert torch.allclose(found.check["score"], scores, atol=1e-5)
    assert torch.allclose(found.check["baseline_score"], before, atol=1e-5)
    assert torch.allclose(found.values.flatten(1).sum(1), scores - before, atol=1e-5)
    assert found.check["completeness_gap"].abs().max() < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_its_images(name: str) -> None:
    # In double precision: a quotient of two small differences keeps few of float32's digits.
    network, images = make(name).double(), some_images().double()
    together = find(network, images, DEEPLIFT, [0, 1, 2], baseline=0.3)
    for i in range(3):
        alone = find(network, images[i : i + 1], DEEPLIFT, i, baseline=0.3)
        assert closeness(together.values[i : i + 1], alone.values) < 1e-6


def test_in_place_functional_and_reused_are_one() -> None:
    networks = [
        alive(Residual(inplace, functional)) for inplace, functional in ((True, False), (False, False), (False, True))
    ]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    found = [find(network, some_images(), DEEPLIFT, 2).values for network in networks]
    assert max(closeness(found[0], other) for other in found[1:]) < 1e-6


def test_a_linear_network_is_weight_times_difference() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 3))
    found = find(network, some_images(), DEEPLIFT, 1, baseline=0.25)
    assert torch.allclose(found.values, (some_images() - 0.25) * network[1].weight.detach()[1].view(2, 8, 8), atol=1e-6)


def test_the_baseline_itself_gets_nothing() -> None:
    images = torch.zeros(2, 2, 8, 8)
    found = find(make("residual"), images, DEEPLIFT, 0)
    assert not found.values.any()
    assert not found.check["completeness_gap_relative"].any()


def test_tiny_differences_become_the_derivative() -> None:
    network, images = make("gelu").double(), some_images(1).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(images)[:, 1].sum(), images)
    start = images.detach()[0] - 1e-9
    found = find(network, images.detach(), DEEPLIFT, 1, baseline=start)
    assert closeness(found.values, gradient * 1e-9) < 1e-4


def test_a_large_gap_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not find(make("residual"), some_images(), DEEPLIFT, 0).notes
    monkeypatch.setattr(deeplift, "LARGE", -1.0)
    assert "completeness_gap is large" in find(make("residual"), some_images(), DEEPLIFT, 0).notes[0]


def test_a_softmax_last_is_explained_too() -> None:
    network = nn.Sequential(make("plain"), nn.Softmax(1))
    found = find(network, some_images(), DEEPLIFT, 0)
    assert torch.allclose(
        found.values.flatten(1).sum(1), found.check["score"] - found.check["baseline_score"], atol=1e-6
    )


def test_logits_far_apart_stay_finite() -> None:
    network = Function(lambda x: torch.softmax(x * 100, 1))
    found = find(network, ONE, DEEPLIFT, 0, baseline=torch.tensor([[[-2.0, 1.0]]]))
    assert found.values.isfinite().all()
    assert float(found.values.sum()) == pytest.approx(1.0, abs=1e-5)


class Steep(nn.Module):
    """So steep near the baseline that a multiplier leaves float32, while every score stays inside."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.rsqrt(x.square() + 1e-38)
        return (y * y).flatten(1)


def test_multipliers_beyond_float32_are_refused() -> None:
    with pytest.raises(InputError, match=r"beyond float32 in this network.*or another baseline"):
        explain(Steep(), torch.full((1, 1, 1, 2), 0.1), "deeplift", 1)


def test_a_difference_of_classes_is_the_difference_of_their_attributions() -> None:
    network, images = make("transformer"), some_images()
    apart = [find(network, images, DEEPLIFT, number).values for number in (0, 2)]
    assert torch.allclose(find(network, images, DEEPLIFT, "0 - 2").values, apart[0] - apart[1], atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_the_built_in_networks(name: str) -> None:
    network = alive(build(name, classes=3, shape=(1, 16, 16)))
    found = find(network, torch.randn(2, 1, 16, 16), DEEPLIFT, 1)
    assert found.check["completeness_gap_relative"].max() < 1e-4


class Forked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (F.relu(x) if x.sum() > 0 else torch.tanh(x)).flatten(1)


def test_another_way_for_the_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="runs others for the baseline than for the image"):
        find(Forked(), torch.ones(1, 1, 2, 2), DEEPLIFT, 0, baseline=-1.0)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Function(lambda x: x.cumsum(1).sort(1)[0]), "deeplift has no rule for the operation 'Sort' of this network"),
        (Function(lambda x: x.detach()), "found no way from the score back to the image"),
    ],
)
def test_what_has_no_rule_is_refused_in_a_sentence(network: nn.Module, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find(network, some_images(), DEEPLIFT, 0)


def test_a_baseline_of_the_wrong_shape() -> None:
    with pytest.raises(
        InputError, match=r"baseline must be a number or a tensor \(2, 8, 8\); found a tensor \(2, 4, 4\)"
    ):
        find(plain(), some_images(), DEEPLIFT, 0, baseline=torch.zeros(2, 4, 4))


def captum_deeplift(network: nn.Module, images: Tensor, target: int, baseline: float | Tensor) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    return attr.DeepLift(network).attribute(images.clone(), baselines=baseline, target=target).detach()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_beside_captum(activation: type[nn.Module]) -> None:
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), activation(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(5, 6), activation(), nn.Linear(6, 3),
    ).eval().double()  # fmt: skip
    images = some_images().double()
    expected = captum_deeplift(network, images, 1, 0.3)
    assert closeness(find(network, images, DEEPLIFT, 1, baseline=0.3).values, expected) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_pooling_behind_an_activation_where_captum_is_wrong() -> None:
    """Captum 0.9.0 hooks the tensor between the two twice, and the pooling's rule is lost: 2 instead of -1 here."""
    network = nn.Sequential(nn.ELU(), nn.MaxPool2d(2), nn.Flatten())
    image, start = torch.tensor([[[[1.0, 2], [3, -1]]]]), torch.tensor([[[0.5, 4], [1, 0]]])
    # The maximum falls from 4, the baseline's second pixel, to 3.
    assert find(network, image, DEEPLIFT, 0, baseline=start).values.flatten().tolist() == [0, -1, 0, 0]
    assert float(captum_deeplift(network, image, 0, start[None]).sum()) == pytest.approx(2)


@pytest.mark.filterwarnings("ignore")
def test_overlapping_pooling_where_captum_is_wrong() -> None:
    """Captum 0.9.0 unpools by writing, not adding: a pixel that is the maximum of two windows keeps only one share."""
    torch.manual_seed(6)
    network = nn.Sequential(nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(72, 3)).eval()
    images = some_images()
    with torch.no_grad():
        change = network(images)[:, 1] - network(torch.zeros_like(images))[:, 1]
    theirs = captum_deeplift(network, images, 1, 0.0).flatten(1).sum(1)
    ours = find(network, images, DEEPLIFT, 1).values.flatten(1).sum(1)
    assert torch.allclose(ours, change, atol=1e-5)
    assert (theirs - change).abs().max() > 0.1


@pytest.mark.filterwarnings("ignore")
def test_a_reused_module_that_captum_refuses() -> None:
    network = alive(Residual(inplace=False))
    with pytest.raises(RuntimeError, match="used more than once"):
        captum_deeplift(network, some_images(), 1, 0.0)
    found = find(network, some_images(), DEEPLIFT, 1)
    assert found.check["completeness_gap_relative"].max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models(module=torchvision.models))
def test_every_torchvision_classifier(name: str) -> None:
    network, image = torchvision_network(name)
    found = find(network, image, DEEPLIFT, 1)
    change = found.check["score"] - found.check["baseline_score"]
    assert found.values.isfinite().all()
    assert found.check["completeness_gap"].abs() < 1e-3 * max(float(change.abs()), float(found.check["score"].abs()))
