"""Integrated gradients: completeness, cases with a known integral, steps chosen image by image, and Captum."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import explain, integrated
from cutaway.lenses.attribution.line import walking
from cutaway.lenses.attribution.method import Found, Job
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import TargetLike, parse_target

IMAGES = torch.randn(5, 2, 8, 6, generator=torch.Generator().manual_seed(1))
TARGETS: list[TargetLike] = [0, 1, 2, 0, 1]


def network(inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(inplace)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3)).eval()


def find(
    net: nn.Module, images: Tensor, target: TargetLike | list[TargetLike], batch: int = 32, **options: Any
) -> Found:
    with opened(net) as forward:
        return integrated.integrated_gradients(Job(forward, images, parse_target(target), batch=batch), **options)


def missed(found: Found) -> list[str]:
    """The notes about a tolerance that was not met."""
    return [note for note in found.notes if "completeness" in note]


class Polynomial(nn.Module):
    """The sum of x**power over the image."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return (x**self.power).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_linear_model_is_exact_with_any_number_of_steps(steps: int) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 6, 3))
    base = torch.rand(2, 8, 6)
    found = find(net, IMAGES, 1, steps=steps, baseline=base)
    weight = net[1].weight.detach()[1].view(2, 8, 6)
    assert torch.allclose(found.values, weight * (IMAGES - base), atol=1e-6)
    assert found.check["completeness_gap"].abs().max() < 1e-5


def test_a_linear_model_needs_no_refinement() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 6, 3))
    found = find(net, IMAGES, 1)
    assert found.check["steps"].tolist() == [integrated.FIRST + 1] * 5
    assert torch.allclose(found.values, net[1].weight.detach()[1].view(2, 8, 6) * IMAGES, atol=1e-6)


@pytest.mark.parametrize(("power", "steps"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3)])
def test_polynomials_whose_integral_is_known(power: int, steps: int) -> None:
    # n Gauss-Legendre steps are exact up to degree 2n - 1; the slope has one degree less than the score.
    images = IMAGES.abs()
    found = find(Polynomial(power), images, 0, steps=steps)
    assert torch.allclose(found.values, images**power, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_completeness_within_the_tolerance(baseline: float) -> None:
    net = network()
    found = find(net, IMAGES, TARGETS, baseline=baseline, tolerance=0.003)
    rows = range(5)
    start = torch.full((1, 2, 8, 6), baseline)
    change = net(IMAGES)[rows, TARGETS].double() - net(start)[0, TARGETS].double()
    gap = found.values.double().sum((1, 2, 3)) - change
    assert (gap.abs() <= 0.003 * change.abs() + 1e-6).all()
    assert torch.allclose(found.check["completeness_gap"].double(), gap, atol=1e-5)
    assert torch.allclose(found.check["completeness_gap_relative"].double(), (gap / change).abs(), atol=1e-4)
    assert torch.allclose(found.check["score"], net(IMAGES)[rows, TARGETS], atol=1e-6)
    assert torch.allclose(found.check["baseline_score"], net(start)[0, TARGETS], atol=1e-6)
    assert not missed(found)


def slow(net: nn.Module, image: Tensor, target: int, places: list[float], weights: list[float]) -> Tensor:
    """The definition, place by place, with baseline 0."""
    total = torch.zeros_like(image)
    for place, weight in zip(places, weights, strict=True):
        point = (place * image)[None].requires_grad_()
        net(point)[0, target].backward()
        assert point.grad is not None
        total += weight * point.grad[0]
    return total * image


def test_fixed_steps_by_the_definition() -> None:
    net = network()
    places, weights = np.polynomial.legendre.leggauss(7)
    found = find(net, IMAGES, TARGETS, steps=7, batch=4)
    for image, target, values in zip(IMAGES, TARGETS, found.values, strict=True):
        expected = slow(net, image, int(target), list((places + 1) / 2), list(weights / 2))
        assert torch.allclose(values, expected, atol=1e-6)


def test_chosen_steps_come_near_the_integral() -> None:
    net = network()
    dense = [(i + 0.5) / 2000 for i in range(2000)]
    found = find(net, IMAGES[:2], 1, tolerance=0.001)
    for image, values in zip(IMAGES[:2], found.values, strict=True):
        expected = slow(net, image, 1, dense, [1 / 2000] * 2000)
        assert (values - expected).norm() < 0.02 * expected.norm()


def test_refinement_goes_where_the_path_is_rough() -> None:
    class Kink(nn.Module):
        """Flat up to 0.9 of the way, then a slope of 1 (for an image of ones)."""

        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1).mean(1, keepdim=True) - 0.9).relu()

    image = torch.ones(1, 1, 2, 2)
    found = find(Kink(), image, 0, tolerance=1e-3)
    # The kink's interval is halved again and again: 9 places and one more for each halving. Equal steps as fine as
    # the last would be over a thousand.
    assert found.check["steps"].item() < 25
    assert found.values.sum().item() == pytest.approx(0.1, rel=1e-3)


def test_the_places_by_hand() -> None:
    # Score 0, 1, 2, 5 and slopes 4, 4, 4, 12 at 0, 1/4, 1/2, 1: the last interval adds up to 0.5 * 16 / 2 = 4 and not
    # to 3, the first two to 1, as they should.
    path = integrated._Path(
        [0, 0.25, 0.5, 1], [0, 1, 2, 5], [4, 4, 4, 12], [torch.full((1,), v) for v in (1.0, 2, 3, 4)]
    )
    assert path.gaps().tolist() == [0, 0, 1]
    assert path.next_places(0.01, 100) == [0.75]
    assert path.next_places(0.01, 4) == []
    assert path.next_places(0.3, 100) == []
    assert path.mean().tolist() == [0.125 * 1 + 0.25 * 2 + 0.375 * 3 + 0.25 * 4]
    path.add(0.75, 3.0, 4.0, torch.zeros(1))
    assert (path.places, path.scores) == ([0, 0.25, 0.5, 0.75, 1], [0, 1, 2, 3, 5])


def test_errors_that_only_cancel_are_no_reason_to_stop() -> None:
    path = integrated._Path([0, 0.5, 1], [0, 1, 1], [0, 2, 0], [torch.zeros(1)] * 3)
    assert path.gaps().tolist() == [-0.5, 0.5]
    assert path.next_places(0.01, 100) == [0.25, 0.75]


@pytest.mark.parametrize("options", [{}, {"steps": 6}])
@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_a_batch_is_as_many_batches_of_one(options: dict[str, int], batch: int) -> None:
    net = network()
    together = find(net, IMAGES, TARGETS, batch=batch, **options)
    for i, target in enumerate(TARGETS):
        alone = find(net, IMAGES[i : i + 1], target, **options)
        assert torch.allclose(together.values[i], alone.values[0], atol=1e-6)
        for name, value in alone.check.items():
            assert torch.allclose(together.check[name][i], value[0], atol=1e-4), name


def test_no_batch_is_larger_than_asked() -> None:
    sizes: list[int] = []
    net = network()
    net[0].register_forward_hook(lambda _module, args, _output: sizes.append(len(args[0])))
    find(net, IMAGES, 1, batch=4)
    find(net, IMAGES, 1, batch=4, steps=7)
    assert max(sizes) == 4


def test_steps_stop_at_the_limit_and_a_note_says_so() -> None:
    found = find(network(), IMAGES, TARGETS, tolerance=1e-9, limit=20)
    assert found.check["steps"].tolist() == [20] * 5
    assert missed(found) == ["images whose completeness_gap_relative is above 1e-09 need a higher limit than 20 steps"]


def test_fixed_steps_have_no_tolerance_to_miss() -> None:
    found = find(network(), IMAGES, TARGETS, steps=1)
    assert found.check["completeness_gap_relative"].max() > 0.01
    assert found.check["steps"].tolist() == [1] * 5
    assert not missed(found)


def test_an_image_that_is_the_baseline_gets_zeros() -> None:
    net = network()
    found = find(net, IMAGES[:1], 1, baseline=IMAGES[0])
    assert not found.values.any()
    assert found.check["completeness_gap_relative"].tolist() == [0.0]
    assert not missed(found)


def test_a_score_that_does_not_change_ends_at_rounding() -> None:
    class Even(nn.Module):
        """The same at both ends of the path, and 100 times that in its middle."""

        def forward(self, x: Tensor) -> Tensor:
            mean = x.flatten(1).mean(1, keepdim=True)
            return 1 + 400 * mean * (1 - mean)

    found = find(Even(), torch.ones(1, 1, 2, 2), 0, limit=40)
    assert found.values.abs().max() < 1e-3
    assert torch.isfinite(found.check["completeness_gap_relative"]).all()


def test_the_certificate_can_hold_a_baseline_that_is_a_tensor() -> None:
    found = find(network(), IMAGES, 1, baseline=torch.full((2, 8, 6), 0.5), steps=2)
    assert json.dumps(dict(found.parameters)) == '{"baseline": "a tensor 2x8x6 of mean 0.5"}'
    assert torch.equal(find(network(), IMAGES, 1, baseline=0.5, steps=2).values, found.values)


def test_in_place_networks_units_and_no_grad() -> None:
    expected = find(network(), IMAGES, "3:2@1,0").values
    net = network(inplace=True)
    net.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(find(net, IMAGES, "3:2@1,0").values, expected)
    with torch.inference_mode():
        assert torch.equal(find(net, IMAGES.clone(), "3:2@1,0").values, expected)


def test_progress_ends_at_the_total() -> None:
    told: list[tuple[str, int, int]] = []
    with opened(network()) as forward:
        job = Job(forward, IMAGES, parse_target(1), batch=9, progress=lambda *args: told.append(args))
        integrated.integrated_gradients(job)
        integrated.integrated_gradients(job, steps=4)
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5, 5, 10, 15, 20]


@pytest.mark.parametrize("options", [{"steps": 0}, {"tolerance": 0.0}, {"limit": 8}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="steps must be at least 1, tolerance above 0 and limit above 8; found"):
        find(network(), IMAGES, 1, **options)


def test_a_baseline_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"baseline must be a number or a tensor \(2, 8, 6\); found a tensor \(3,\)"):
        find(network(), IMAGES, 1, baseline=torch.zeros(3))


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    net = network()
    net[3].weight.data[0, 0, 0, 0] = float("inf")
    with pytest.raises(InputError, match="is not finite; layer '3' is the first"):
        find(net, IMAGES, 1)


@pytest.mark.parametrize("steps", [1, 8, 50])
def test_captum_agrees_at_equal_steps(steps: int) -> None:
    attr = pytest.importorskip("captum.attr")
    net, base = network(), torch.full((1, 2, 8, 6), 0.2)
    peer = attr.IntegratedGradients(net)
    expected, delta = peer.attribute(
        IMAGES, base, TARGETS, n_steps=steps, method="gausslegendre", return_convergence_delta=True
    )
    found = find(net, IMAGES, TARGETS, steps=steps, baseline=0.2)
    assert torch.allclose(found.values, expected.float(), atol=1e-5)
    assert torch.allclose(found.check["completeness_gap"], delta.float(), atol=1e-5)


class Skip(nn.Module):
    """A network whose first convolution is not the image's only way in."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + x.flatten(1)[:, :3]


@pytest.mark.parametrize("options", [{"steps": 6}, {"tolerance": 0.003}])
def test_walked_behind_the_first_convolution_or_in_the_image_it_is_the_same(options: dict[str, Any]) -> None:
    # What a skip connection adds is linear: the map of its own part is known.
    direct = torch.zeros(5, 2 * 8 * 6)
    direct[range(5), [int(target) for target in TARGETS]] = 1.0
    alone, joined = find(network(), IMAGES, TARGETS, **options), find(Skip().eval(), IMAGES, TARGETS, **options)
    for net, entered in ((network(), True), (Skip().eval(), False)):
        with opened(net) as forward, walking(Job(forward, IMAGES, parse_target(TARGETS)), torch.zeros(2, 8, 6)) as line:
            assert (line.entry is not None) == entered
    assert torch.allclose(joined.values, alone.values + direct.view(5, 2, 8, 6) * IMAGES, atol=3e-3)


def test_an_in_place_relu_behind_the_first_convolution() -> None:
    found, expected = (find(network(inplace), IMAGES, TARGETS, steps=5) for inplace in (True, False))
    assert torch.allclose(found.values, expected.values, atol=1e-6)


def test_precision_is_for_class_activation_maps() -> None:
    exact = explain(network(), IMAGES, "integrated-gradients", 1, steps=8)
    for precision in ("bf16", "auto"):
        found = explain(network(), IMAGES, "integrated-gradients", 1, steps=8, precision=precision)
        assert torch.equal(found.values, exact.values)
        assert found.certificate == exact.certificate
