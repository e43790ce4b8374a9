"""Saliency, input x gradient, SmoothGrad and VarGrad against their definitions, by hand and beside Captum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import gradient
from cutaway.lenses.attribution.method import Found, Job
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import TargetLike, parse_target

METHODS = list(gradient.METHODS)


def network(bias: bool = True, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias),
        nn.ReLU(inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, bias=bias),
        nn.ReLU(inplace),
        nn.Flatten(),
        nn.Linear(5 * 2 * 1, 3, bias=bias),
    )


IMAGES = torch.randn(5, 2, 8, 6, generator=torch.Generator().manual_seed(1))


def find(net: nn.Module, images: Tensor, method: str, target: TargetLike | list[TargetLike], **options: Any) -> Found:
    settings = {name: options.pop(name) for name in ("seed", "batch", "progress") if name in options}
    with opened(net) as forward:
        job = Job(forward, images, parse_target(target), **settings)
        return gradient.METHODS[method].compute(job, **options)


def slow_gradient(net: nn.Module, image: Tensor, target: int) -> Tensor:
    """One image alone, by plain autograd."""
    image = image.detach().clone()[None].requires_grad_()
    net(image)[0, target].backward()
    assert image.grad is not None
    return image.grad[0]


def test_saliency_of_a_linear_network_is_its_weights() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 6, 3))
    found = find(net, IMAGES, "saliency", 1)
    weight = net[1].weight.detach()[1].view(2, 8, 6)
    assert all(torch.equal(values, weight) for values in found.values)


def test_saliency_by_central_differences() -> None:
    net = network().double()
    image = IMAGES[:1].double()
    found = find(net, image, "saliency", 2).values[0].double()
    numeric = torch.empty_like(found)
    for index in range(found.numel()):
        step = torch.zeros(found.numel(), dtype=torch.double)
        step[index] = 1e-6
        with torch.no_grad():
            ahead, behind = (net(image + sign * step.view_as(image))[0, 2] for sign in (1, -1))
        numeric.view(-1)[index] = (ahead - behind) / 2e-6
    assert torch.allclose(found, numeric, atol=1e-6)


def test_the_scores_are_summed_and_never_averaged() -> None:
    net = network()
    targets: list[TargetLike] = [0, 1, 2, 0, 1]
    found = find(net, IMAGES, "saliency", targets).values
    for image, target, values in zip(IMAGES, targets, found, strict=True):
        assert torch.allclose(values, slow_gradient(net, image, int(target)), atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 2, 4, 32])
def test_a_batch_is_as_many_batches_of_one(method: str, batch: int) -> None:
    net = network()
    targets: list[TargetLike] = [0, 1, 2, 0, 1]
    together = find(net, IMAGES, method, targets, batch=batch)
    for i, target in enumerate(targets):
        alone = find(net, IMAGES[i : i + 1], method, target, batch=7)
        assert torch.allclose(together.values[i], alone.values[0], atol=1e-6)
        for name, value in alone.check.items():
            assert torch.allclose(together.check[name][i], value[0], atol=1e-5)


def test_input_x_gradient_of_a_network_without_biases_sums_to_the_score() -> None:
    net = network(bias=False)
    found = find(net, IMAGES, "input-x-gradient", 1)
    scores = net(IMAGES)[:, 1].detach()
    assert torch.allclose(found.values.flatten(1).sum(1), scores, atol=1e-6)
    assert torch.allclose(found.check["score"], scores, atol=1e-6)
    assert found.check["completeness_gap"].abs().max() < 1e-6


def test_with_biases_the_gap_is_what_they_hold() -> None:
    net = network()
    found = find(net, IMAGES, "input-x-gradient", 1)
    assert torch.allclose(found.check["completeness_gap"] + found.values.sum((1, 2, 3)), net(IMAGES)[:, 1], atol=1e-6)
    assert found.check["completeness_gap"].abs().min() > 1e-3


def noisy_gradients(net: nn.Module, image: Tensor, target: int, samples: int, noise: float, seed: int) -> Tensor:
    """The definition: one noisy copy after the other, (samples, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    sigma = noise * (image.max() - image.min())
    copies = [image + sigma * torch.randn(image.shape, generator=generator) for _ in range(samples)]
    return torch.stack([slow_gradient(net, copy, target) for copy in copies])


def test_smoothgrad_and_vargrad_by_their_definitions() -> None:
    net = network()
    smooth = find(net, IMAGES, "smoothgrad", 2, samples=7, noise=0.4, seed=3, batch=4)
    variance = find(net, IMAGES, "vargrad", 2, samples=7, noise=0.4, seed=3, batch=4).values
    for i, image in enumerate(IMAGES):
        drawn = noisy_gradients(net, image, 2, 7, 0.4, 3)
        assert torch.allclose(smooth.values[i], drawn.mean(0), atol=1e-6)
        assert torch.allclose(variance[i], drawn.var(0, correction=0), atol=1e-6)
        error = (drawn.var(0) / 7).sum().sqrt() / drawn.mean(0).norm()
        assert torch.allclose(smooth.check["standard_error"][i], error, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 64])
def test_the_draws_do_not_depend_on_chunking(batch: int) -> None:
    # 15 values an image are fewer than torch draws at once: a chunk's draws must still be those of single images.
    net = nn.Sequential(nn.Flatten(), nn.Linear(15, 4), nn.ReLU(), nn.Linear(4, 2))
    images = IMAGES.flatten()[:45].view(3, 1, 3, 5)
    expected = find(net, images, "smoothgrad", 0, samples=9, batch=27).values
    assert torch.allclose(find(net, images, "smoothgrad", 0, samples=9, batch=batch).values, expected, atol=1e-7)


def test_smoothgrad_without_noise_is_exactly_the_gradient() -> None:
    net = network()
    plain = find(net, IMAGES, "saliency", 1).values
    found = find(net, IMAGES, "smoothgrad", 1, noise=0.0)
    assert torch.equal(found.values, plain)
    assert not found.check["standard_error"].any()
    assert not find(net, IMAGES, "vargrad", 1, noise=0.0).values.any()


@pytest.mark.parametrize("method", ["smoothgrad", "vargrad"])
def test_seeds_are_exact(method: str) -> None:
    net = network()
    state = torch.get_rng_state()
    first, again, other = (find(net, IMAGES, method, 0, samples=4, seed=seed).values for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_goes_with_the_range_of_each_image() -> None:
    # The gradient of x**3 / 3 is x**2, whose mean over noise is x**2 + sigma**2.
    class Cube(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**3 / 3).flatten(1).sum(1, keepdim=True)

    images = torch.zeros(2, 1, 2, 1)
    images[0, 0, 1], images[1, 0, 1] = 1.0, 10.0
    found = find(Cube(), images, "smoothgrad", 0, samples=4000, noise=0.5).values
    assert torch.allclose(found[0, 0, 0], torch.tensor([0.25]), rtol=0.1)
    assert torch.allclose(found[1, 0, 0], torch.tensor([25.0]), rtol=0.1)


def test_an_even_image_gets_no_noise() -> None:
    net = network()
    even = torch.full((1, 2, 8, 6), 0.3)
    expected = find(net, even, "saliency", 1).values
    assert torch.allclose(find(net, even, "smoothgrad", 1).values, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_in_place_networks_give_the_same(method: str) -> None:
    expected = find(network(), IMAGES, method, 1).values
    assert torch.equal(find(network(inplace=True), IMAGES, method, 1).values, expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_target_may_be_a_unit_inside(method: str) -> None:
    net = network(inplace=True)
    found = find(net, IMAGES, method, "3:2@1,0", batch=3).values
    assert found.shape == IMAGES.shape
    if method == "saliency":
        image = IMAGES.clone().requires_grad_()
        net[:4](image)[:, 2, 1, 0].sum().backward()
        assert torch.allclose(found, image.grad, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_weights_no_grad_and_inference_mode(method: str) -> None:
    net = network()
    expected = find(net, IMAGES, method, 1).values
    net.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(find(net, IMAGES, method, 1).values, expected)
    with torch.inference_mode():
        assert torch.equal(find(net, IMAGES.clone(), method, 1).values, expected)
    assert all(value.grad is None for value in net.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_images_stay_as_they_were(method: str) -> None:
    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2).flatten(1)

    images = IMAGES.clone()
    find(Doubling(), images, method, 0)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_give_float32(dtype: torch.dtype) -> None:
    expected = find(network(), IMAGES, "saliency", 1).values
    found = find(network().to(dtype), IMAGES.to(dtype), "saliency", 1).values
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6 if dtype == torch.float64 else 0.05)


def test_progress_counts_every_sample_of_every_image() -> None:
    told: list[tuple[str, int, int]] = []
    find(network(), IMAGES, "smoothgrad", 0, samples=3, batch=4, progress=lambda *args: told.append(args))
    assert [done for _, done, _ in told] == [4, 8, 12, 15]
    assert {(label, total) for label, _, total in told} == {("smoothgrad", 15)}


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}])
@pytest.mark.parametrize("method", ["smoothgrad", "vargrad"])
def test_options_out_of_range(method: str, options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="samples must be at least 1 and noise at least 0; found"):
        find(network(), IMAGES, method, 0, **options)


class Detached(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.detach())


class Rounded(Detached):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("kind", [Detached, Rounded])
def test_a_score_without_a_gradient_is_explained(kind: type[Detached]) -> None:
    message = f"score of class 1 has no gradient with respect to the image: {kind.__name__} detaches"
    with pytest.raises(InputError, match=message):
        find(kind(network()), IMAGES, "saliency", 1)


def test_a_network_that_overwrites_what_its_gradient_needs() -> None:
    class Overwriting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1).sigmoid()
            x.mul_(2)
            return x

    with pytest.raises(InputError, match="Overwriting has no gradient: an operation in place overwrites"):
        find(Overwriting(), IMAGES, "saliency", 1)


@pytest.mark.parametrize("method", METHODS)
def test_the_first_layer_that_is_not_finite_is_named(method: str) -> None:
    net = network()
    net[3].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="score of class 1 is not finite; layer '3' is the first"):
        find(net, IMAGES, method, 1)


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).sqrt().flatten(1)

    with pytest.raises(InputError, match="gradient of class 1 is not finite; every layer's output is finite"):
        find(Root(), IMAGES, "saliency", 1)


def test_captum_agrees() -> None:
    attr = pytest.importorskip("captum.attr")
    net = network().eval()
    targets = [0, 1, 2, 0, 1]
    saliency = attr.Saliency(net).attribute(IMAGES.clone(), targets, abs=False)
    times = attr.InputXGradient(net).attribute(IMAGES.clone().requires_grad_(), targets).detach()
    assert torch.allclose(find(net, IMAGES, "saliency", list(targets)).values, saliency, atol=1e-5)
    assert torch.allclose(find(net, IMAGES, "input-x-gradient", list(targets)).values, times, atol=1e-5)


@pytest.mark.parametrize(("method", "kind"), [("smoothgrad", "smoothgrad"), ("vargrad", "vargrad")])
def test_captum_agrees_on_the_same_noise(method: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attr = pytest.importorskip("captum.attr")
    net, image = network().eval(), IMAGES[:1]
    sigma = 0.15 * float(image.max() - image.min())
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn(image.shape[1:], generator=generator) for _ in range(25)])
    tunnel = attr.NoiseTunnel(attr.Saliency(net))
    # Captum draws from torch's global generator; it is given our draws.
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: noise * deviation)
    expected = tunnel.attribute(image.clone(), nt_type=kind, nt_samples=25, stdevs=sigma, target=1, abs=False)
    monkeypatch.undo()
    assert torch.allclose(find(net, image, method, 1).values, expected, atol=1e-5)
