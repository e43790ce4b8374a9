"""Layer-wise relevance propagation: by double loops, by what must add up, and beside Captum."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from tiny_networks import NETWORKS, Residual, alive, find, make, plain, some_images, torchvision_network
from torch import Tensor, nn
from torchvision.models import list_models

from cutaway.errors import InputError
from cutaway.lenses.attribution.deeplift import METHODS as DEEPLIFT
from cutaway.lenses.attribution.relevance import METHODS
from cutaway.models import build

EPSILON, GAMMA, Z_PLUS = METHODS["lrp-epsilon"], METHODS["lrp-gamma"], METHODS["lrp-z+"]
RULES = {"lrp-epsilon": 0.0, "lrp-gamma": 0.25, "lrp-z+": math.inf}


def share(contributions: list[float], total: float, gamma: float) -> list[float]:
    """What the rule makes of contributions to a sum, the bias among them."""
    agreeing = [q if q * total > 0 else 0.0 for q in contributions]
    if math.isinf(gamma):
        return agreeing
    return [q + gamma * one for q, one in zip(contributions, agreeing, strict=True)]


def slow_layer(weight: Tensor, bias: Tensor, x: Tensor, relevance: Tensor, gamma: float, epsilon: float) -> Tensor:
    """A dense layer's relevance by the definition: outputs j, inputs i."""
    handed_back = [0.0] * len(x)
    for row, constant, value in zip(weight.tolist(), bias.tolist(), relevance.tolist(), strict=True):
        contributions = [one * w for one, w in zip(x.tolist(), row, strict=True)] + [constant]
        weights = share(contributions, sum(contributions), gamma)
        denominator = sum(weights)
        denominator += epsilon if denominator >= 0 else -epsilon
        for i in range(len(x)):
            handed_back[i] += weights[i] / denominator * value
    return torch.tensor(handed_back, dtype=torch.float64)


def as_dense(layer: nn.Module, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Matrix and bias of a linear layer: what it makes of nothing, and of each single one."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    bias = layer(zero).flatten()
    ones = torch.eye(zero.numel(), dtype=torch.float64).view(-1, *shape)
    return torch.stack([layer(one[None]).flatten() - bias for one in ones], 1), bias


@torch.no_grad()
def slow_relevance(
    network: nn.Sequential, image: Tensor, target: int, rules: Callable[[nn.Module], float], epsilon: float
) -> Tensor:
    """Layer by layer from the end of a Sequential, in float64."""
    network = network.double()
    values = [image.double()[None]]
    for layer in network:
        values.append(layer(values[-1].clone()))
    relevance = torch.zeros_like(values[-1][0])
    relevance[target] = values[-1][0, target]
    for layer, x in zip(reversed(network), reversed(values[:-1]), strict=True):
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.AvgPool2d)):
            weight, bias = as_dense(layer, x.shape[1:])
            relevance = slow_layer(weight, bias, x.flatten(), relevance.flatten(), rules(layer), epsilon).view(
                x.shape[1:]
            )
        elif isinstance(layer, nn.MaxPool2d):
            relevance = slow_max_pool(x[0], relevance)
        else:
            relevance = relevance.view(x.shape[1:])
    network.float()
    return relevance


def slow_max_pool(x: Tensor, relevance: Tensor) -> Tensor:
    """2x2 windows; the largest value takes all."""
    handed_back = torch.zeros_like(x)
    for channel in range(relevance.shape[0]):
        for row in range(relevance.shape[1]):
            for column in range(relevance.shape[2]):
                window = x[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                i, j = divmod(int(window.argmax()), 2)
                handed_back[channel, 2 * row + i, 2 * column + j] += relevance[channel, row, column]
    return handed_back


def closeness(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bias", [True, False])
def test_against_double_loops(name: str, bias: bool) -> None:
    network, images, targets = plain(bias), some_images(2), [1, 2]
    options = {"epsilon": 0.01} | ({} if name == "lrp-epsilon" else {"dense": "same"})
    found = find(network, images, METHODS[name], targets, **options)
    for i in range(2):
        expected = slow_relevance(network, images[i], targets[i], lambda _: RULES[name], 0.01)
        assert closeness(found.values[i], expected) < 1e-5


@pytest.mark.parametrize("name", ["lrp-gamma", "lrp-z+"])
def test_dense_layers_follow_the_epsilon_rule_unless_told(name: str) -> None:
    network, images = plain(), some_images(1)
    found = find(network, images, METHODS[name], 0, epsilon=0.01)
    rules = lambda layer: 0.0 if isinstance(layer, nn.Linear) else RULES[name]  # noqa: E731
    assert closeness(found.values[0], slow_relevance(network, images[0], 0, rules, 0.01)) < 1e-5


@pytest.mark.parametrize("name", RULES)
def test_average_pooling_is_a_linear_layer(name: str) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 2)).eval()
    images = some_images(1)
    found = find(network, images, METHODS[name], 0, **({} if name == "lrp-epsilon" else {"dense": "same"}))
    assert closeness(found.values[0], slow_relevance(network, images[0], 0, lambda _: RULES[name], 1e-6)) < 1e-5


def hand_network() -> nn.Sequential:
    """2 * a - 1 * b + 1 * c + 0.5 of three pixels."""
    network = nn.Sequential(nn.Conv2d(1, 1, (1, 3)), nn.Flatten())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([2.0, -1, 1]).view(1, 1, 1, 3))
        network[0].bias.fill_(0.5)
    return network


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Of the pixels 1, 2, 3 the contributions are 2, -2, 3 and the bias 0.5; the score is 3.5.
        (EPSILON, [2.0, -2, 3]),
        # With gamma 1 those that agree count twice: 4, -2, 6 and 1 of 9.
        (GAMMA, [4 / 9 * 3.5, -2 / 9 * 3.5, 6 / 9 * 3.5]),
        # 2, 0, 3 and 0.5 of 5.5.
        (Z_PLUS, [2 / 5.5 * 3.5, 0, 3 / 5.5 * 3.5]),
    ],
)
def test_by_hand(method: Any, expected: list[float]) -> None:
    options = {"gamma": 1.0} if method is GAMMA else {}
    found = find(hand_network(), torch.tensor([[[[1.0, 2, 3]]]]), method, 0, epsilon=0.0, **options)
    assert torch.allclose(found.values.flatten(), torch.tensor(expected), atol=1e-6)
    assert float(found.check["absorbed_by_biases"]) == pytest.approx(3.5 - sum(expected), abs=1e-6)


def test_the_stabiliser_takes_its_share_by_hand() -> None:
    # The sum 3.5 and an epsilon of 3.5: half of everything is gone.
    found = find(hand_network(), torch.tensor([[[[1.0, 2, 3]]]]), EPSILON, 0, epsilon=3.5)
    assert torch.allclose(found.values.flatten(), torch.tensor([1.0, -1, 1.5]))
    assert float(found.check["absorbed_by_epsilon"]) == pytest.approx(1.75)
    assert float(found.check["absorbed_by_biases"]) == pytest.approx(0.25)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1).chunk(2, 1)
        return first + second


def test_a_residual_sum_is_shared_in_proportion() -> None:
    image = torch.tensor([[[[3.0, -1.0]]]])
    assert torch.allclose(find(Sum(), image, EPSILON, 0).values.flatten(), torch.tensor([3.0, -1]), atol=1e-5)
    assert torch.allclose(find(Sum(), image, Z_PLUS, 0).values.flatten(), torch.tensor([2.0, 0]), atol=1e-5)
    # 3 counts twice: 6 and -1 of 5.
    assert torch.allclose(find(Sum(), image, GAMMA, 0, gamma=1.0).values.flatten(), torch.tensor([2.4, -0.4]))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_pixels_biases_and_stabiliser_add_up_to_the_score(name: str, method: Any) -> None:
    network, images = make(name), some_images()
    found = find(network, images, method, [0, 1, 2])
    with torch.no_grad():
        scores = network(images).diagonal()
    assert torch.allclose(found.check["score"], scores, atol=1e-5)
    absorbed = found.check["absorbed_by_biases"] + found.check["absorbed_by_epsilon"]
    assert torch.allclose(found.values.flatten(1).sum(1) + absorbed, scores, atol=2e-5)
    assert torch.allclose(found.check["conservation_gap"], scores - found.values.flatten(1).sum(1), atol=1e-5)
    assert found.check["unaccounted"].abs().max() < 1e-5
    assert found.values.abs().max() > 1e-6


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_without_biases_all_relevance_reaches_the_pixels(method: Any) -> None:
    network, images = plain(bias=False), some_images()
    gaps = [find(network, images, method, 1, epsilon=e).check["conservation_gap"].abs().max() for e in (1e-2, 1e-4, 0)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


@pytest.mark.parametrize("name", ["plain", "residual", "dense", "gated", "silu", "gelu"])
def test_z_plus_has_the_sign_of_the_score(name: str) -> None:
    found = find(make(name), some_images(6), Z_PLUS, 1, dense="same")
    assert (found.values * found.check["score"].sign().view(-1, 1, 1, 1) >= 0).all()


def test_z_plus_is_gamma_without_end() -> None:
    network, images = make("residual"), some_images()
    far = find(network, images, GAMMA, 0, gamma=1e6)
    assert closeness(far.values, find(network, images, Z_PLUS, 0).values) < 1e-4


def test_gamma_zero_is_epsilon() -> None:
    network, images = make("dense"), some_images()
    assert torch.equal(find(network, images, GAMMA, 0, gamma=0.0).values, find(network, images, EPSILON, 0).values)


@pytest.mark.parametrize("name", ["plain", "residual", "dense"])
def test_epsilon_near_zero_is_input_times_gradient(name: str) -> None:
    network, images = make(name), some_images().requires_grad_()
    (gradient,) = torch.autograd.grad(network(images)[:, 1].sum(), images)
    found = find(network, images.detach(), EPSILON, 1, epsilon=0.0)
    assert closeness(found.values, (images * gradient).detach()) < 1e-5


@pytest.mark.parametrize("name", ["residual", "hand written", "transformer", "gated"])
@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_batch_is_its_images(name: str, method: Any) -> None:
    network, images = make(name), some_images()
    together = find(network, images, method, [0, 1, 2])
    for i in range(3):
        alone = find(network, images[i : i + 1], method, i)
        assert closeness(together.values[i : i + 1], alone.values) < 1e-4
        for check in together.check:
            assert torch.allclose(together.check[check][i], alone.check[check][0], atol=1e-4)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_in_place_functional_and_reused_are_one(method: Any) -> None:
    networks = [
        alive(Residual(inplace, functional)) for inplace, functional in ((True, False), (False, False), (False, True))
    ]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    found = [find(network, some_images(), method, 2).values for network in networks]
    assert max(closeness(found[0], other) for other in found[1:]) < 1e-6


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_normalisation_is_one_layer_with_the_convolution_before_it(method: Any) -> None:
    torch.manual_seed(3)
    conv, norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
    tail = [nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    apart = alive(nn.Sequential(conv, norm, *tail))
    merged = nn.utils.fuse_conv_bn_eval(conv, norm)
    options = {"epsilon": 0.1}
    expected = find(nn.Sequential(merged, *tail), some_images(), method, 0, **options)
    assert closeness(find(apart, some_images(), method, 0, **options).values, expected.values) < 1e-5


def test_a_gate_takes_nothing() -> None:
    """The squeezed path could be anything: only what it says counts."""
    network, images = make("gated"), some_images()
    with torch.no_grad():
        gates: list[Tensor] = []
        hook = network.excite.register_forward_hook(lambda _m, _i, out: gates.append(F.hardsigmoid(out)))
        network(images)
    hook.remove()

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # What hardsigmoid turns into the same gates.
            return gates[0] * 6 - 3

    before = find(network, images, EPSILON, 1)
    network.excite = Constant()
    assert closeness(find(network, images, EPSILON, 1).values, before.values) < 1e-5


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1).chunk(2, 1)
        return first * second


class Squeezed(nn.Module):
    """A gate made in place, and one that becomes a signal in place."""

    def __init__(self, signal: bool) -> None:
        super().__init__()
        self.signal = signal

    def forward(self, x: Tensor) -> Tensor:
        first, gate = (part.clone() for part in x.flatten(1).chunk(2, 1))
        gate.sigmoid_()
        if self.signal:
            gate *= first
            return gate * first
        return gate.view(-1, 1) * first


def test_a_gate_is_one_until_a_signal_is_written_into_it() -> None:
    image = torch.tensor([[[[3.0, 0.0]]]])
    # 3 * 1/2, all of it from the first pixel; then 1/2 * 3 * 3, again all of it.
    assert find(Squeezed(False), image, EPSILON, 0).values.flatten().tolist() == [1.5, 0]
    assert find(Squeezed(True), image, EPSILON, 0).values.flatten().tolist() == [4.5, 0]


def test_a_transposed_convolution_keeps_its_normalisation_apart() -> None:
    network = alive(nn.Sequential(nn.ConvTranspose2d(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(200, 3)))
    images = some_images().requires_grad_()
    (gradient,) = torch.autograd.grad(network(images)[:, 0].sum(), images)
    found = find(network, images.detach(), EPSILON, 0, epsilon=0.0)
    assert closeness(found.values, (images * gradient).detach()) < 1e-4
    for method in METHODS.values():
        assert find(network, images.detach(), method, 0, epsilon=1e-3).check["unaccounted"].abs().max() < 1e-4


def test_two_signals_that_are_multiplied_get_half_each() -> None:
    found = find(Product(), torch.tensor([[[[3.0, 4.0]]]]), EPSILON, 0)
    assert found.values.flatten().tolist() == [6, 6]


def test_a_difference_of_classes_is_the_difference_of_their_relevance() -> None:
    network, images = make("residual"), some_images()
    for method in METHODS.values():
        apart = [find(network, images, method, number).values for number in (0, 2)]
        together = find(network, images, method, "0 - 2")
        assert torch.allclose(together.values, apart[0] - apart[1], atol=1e-6)


def test_a_unit_is_explained_from_its_layer_on() -> None:
    network, images = plain(), some_images()
    found = find(network, images, EPSILON, "3:1")
    with torch.no_grad():
        assert torch.allclose(found.check["score"], network[:4](images)[:, 1].mean((1, 2)), atol=1e-6)
    assert found.check["unaccounted"].abs().max() < 1e-6


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_the_built_in_networks(name: str, method: Any) -> None:
    network = alive(build(name, classes=3, shape=(1, 16, 16)))
    found = find(network, torch.randn(2, 1, 16, 16), method, 1)
    assert found.check["unaccounted"].abs().max() < 1e-3 * found.check["score"].abs().max()


class SoftmaxLast(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumprod(x.flatten(1), 1)


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Foreign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OwnFunction.apply(x).flatten(1)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (SoftmaxLast(nn.Flatten(), nn.Linear(128, 3)), "explain the logits, not the probabilities"),
        (Sorted(), "lrp-epsilon has no rule for the operation 'Cumprod' of this network; choose another method"),
        (Foreign(), "has no rule for the operation 'OwnFunction'"),
        (nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()), "track_running_stats=True"),
    ],
)
def test_what_has_no_rule_is_refused_in_a_sentence(network: nn.Module, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find(network, some_images(), EPSILON, 0)


@pytest.mark.parametrize("network", [Residual(), Sorted()], ids=["found", "refused"])
@pytest.mark.parametrize("method", [*METHODS.values(), *DEEPLIFT.values()], ids=[*METHODS, *DEEPLIFT])
def test_nothing_is_left_behind(network: nn.Module, method: Any) -> None:
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = some_images()
    with contextlib.suppress(InputError):
        find(network, images, method, 0)
    assert torch.equal(images, some_images())
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert all(value.requires_grad and value.grad is None for value in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.parametrize(
    ("method", "options"), [(EPSILON, {"epsilon": -1.0}), (GAMMA, {"gamma": -0.5}), (GAMMA, {"gamma": math.nan})]
)
def test_options_out_of_range(method: Any, options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="needs epsilon and gamma of 0 or more"):
        find(plain(), some_images(), method, 0, **options)


def test_an_unknown_rule_for_dense_layers() -> None:
    with pytest.raises(InputError, match="rule 'gamma' is not one for dense layers"):
        find(plain(), some_images(), GAMMA, 0, dense="gamma")


class WithoutFlatten(nn.Module):
    """Captum has no rule for `nn.Flatten`."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.body, self.head = network[:-2], network[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


def captum_lrp(network: nn.Sequential, images: Tensor, target: int, rule: Callable[[], Any]) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.rule = rule()
    return attr.LRP(WithoutFlatten(network)).attribute(images.clone(), target=target).detach()


def captum_rules() -> Any:
    return pytest.importorskip("captum.attr._utils.lrp_rules")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bias", [True, False])
def test_epsilon_beside_captum(bias: bool) -> None:
    rules = captum_rules()
    expected = captum_lrp(plain(bias), some_images(), 1, lambda: rules.EpsilonRule(0.01))
    assert closeness(find(plain(bias), some_images(), EPSILON, 1, epsilon=0.01).values, expected) < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "rule"), [(GAMMA, "GammaRule"), (Z_PLUS, "Alpha1_Beta0_Rule")])
def test_gamma_and_z_plus_beside_captum_where_it_is_right(method: Any, rule: str) -> None:
    """Captum 0.9.0 clamps weights, not contributions: right only for inputs and sums that are not negative.

    It also leaves biases out of the rule (a negative one stays in the denominator of alpha 1, beta 0, which may then
    be zero), so the comparison is without biases, with positive pixels and a positive logit.
    """
    rules = captum_rules()
    images = some_images(8).abs()
    scores = plain(False)(images)[:, 1]
    assert (scores > 0).any()
    expected = captum_lrp(plain(False), images, 1, getattr(rules, rule))
    options = {"dense": "same", "epsilon": 1e-9}
    found = find(plain(False), images, method, 1, **options).values
    assert closeness(found[scores > 0], expected[scores > 0]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models(module=torchvision.models))
def test_every_torchvision_classifier(name: str) -> None:
    network, image = torchvision_network(name)
    for method in METHODS.values():
        found = find(network, image, method, 1)
        assert found.values.isfinite().all()
        assert found.values.any()
        # Of what moves through the network, which with the epsilon rule is far more than the score.
        assert found.check["unaccounted"].abs() < 1e-5 * (found.check["score"].abs() + found.values.abs().sum()) + 1e-6
