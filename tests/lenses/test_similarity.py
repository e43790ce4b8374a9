"""CKA against the literal formulas in loops, its identities, and its promises to the network."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.similarity import LayerGrams, SimilarityTotal, gram, self_check, similarity, u_centred


def literal_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741  # the paper's letter
    """`HSIC_1` of Song et al. (2012), equation 5, by loops over the entries."""
    n = len(k)
    trace = sum(float(k[i, j] * l[j, i]) for i in range(n) for j in range(n) if i != j)
    sum_k = sum(float(k[i, j]) for i in range(n) for j in range(n) if i != j)
    sum_l = sum(float(l[i, j]) for i in range(n) for j in range(n) if i != j)
    cross = sum(float(k[i, j] * l[j, m]) for i in range(n) for j in range(n) for m in range(n) if i != j and j != m)
    return (trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross) / (n * (n - 3))


def literal_cka(batches: list[tuple[Tensor, Tensor]]) -> float:
    """Nguyen et al. (2021), equation 4: the ratio of means over batches."""
    terms = [
        (literal_hsic(x @ x.T, y @ y.T), literal_hsic(x @ x.T, x @ x.T), literal_hsic(y @ y.T, y @ y.T))
        for x, y in ((x.double(), y.double()) for x, y in batches)
    ]
    cross, own_x, own_y = (sum(values) / len(terms) for values in zip(*terms, strict=True))
    return cross / math.sqrt(own_x * own_y)


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    """Through the parts that a pass uses."""
    total = SimilarityTotal()
    for x, y in batches:
        grams = LayerGrams(len(x)), LayerGrams(len(y))
        grams[0]("x", x)
        grams[1]("y", y)
        total.add(*grams)
    return float(total.result().cka)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, width: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 5, 3),
        nn.Flatten(),
        nn.Linear(5 * 16, 3),
    )


def test_the_inner_product_of_two_u_centred_matrices_is_the_unbiased_hsic() -> None:
    x, y = draw(7, 4).double(), draw(7, 3, seed=1).double()
    first, second = u_centred(x @ x.T), u_centred(y @ y.T)
    assert float((first * second).sum() / (7 * 4)) == pytest.approx(literal_hsic(x @ x.T, y @ y.T), rel=1e-10)
    assert torch.allclose(first.sum(1), torch.zeros(7, dtype=torch.float64), atol=1e-12)
    assert not first.diagonal().any()


def test_four_images_by_hand() -> None:
    # x = 1 -1 0 0: off the diagonal of its Gram matrix only the entry of the first pair is not zero, and it is -1.
    # U-centring with n = 4: row sums -1 -1 0 0 go off by halves, the total -2 by a sixth.
    x = torch.tensor([1.0, -1.0, 0.0, 0.0])[:, None]
    third, sixth = 1 / 3, 1 / 6
    expected = torch.tensor(
        [
            [0.0, -third, sixth, sixth],
            [-third, 0.0, sixth, sixth],
            [sixth, sixth, 0.0, -third],
            [sixth, sixth, -third, 0.0],
        ]
    )
    assert torch.allclose(u_centred(x @ x.T).float(), expected)


@pytest.mark.parametrize("count", [1, 3])
def test_cka_is_the_literal_formula(count: int) -> None:
    batches = [(draw(6, 5, seed=seed), draw(6, 2, 2, 2, seed=seed + 9)) for seed in range(count)]
    expected = literal_cka([(x, y.flatten(1)) for x, y in batches])
    assert cka(*batches) == pytest.approx(expected, rel=1e-5)


def test_networks_layer_by_layer_are_the_literal_formula() -> None:
    first, second = small().eval(), small(1, 6).eval()
    batches = [draw(6, 1, 8, 8, seed=seed) for seed in range(2)]
    found = similarity(first, second, [(images, images) for images in batches])
    assert (found.layers_a, found.layers_b) == (("0", "3", "5"), ("0", "3", "5"))
    assert found.cka.shape == (3, 3)
    assert (found.images, found.batches) == (12, 2)
    with torch.no_grad():
        for row, depth_a in enumerate((1, 4, 6)):
            for column, depth_b in enumerate((1, 4, 6)):
                answers = [(first[:depth_a](x).flatten(1), second[:depth_b](x).flatten(1)) for x in batches]
                assert float(found.cka[row, column]) == pytest.approx(literal_cka(answers), rel=1e-4, abs=1e-6)


def test_the_estimate_is_unbiased_on_independent_representations() -> None:
    found = [cka((draw(8, 3, seed=2 * seed), draw(8, 3, seed=2 * seed + 1))) for seed in range(400)]
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / 20
    assert abs(float(mean)) < 4 * float(error)
    assert min(found) < 0  # the biased estimate never is


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(draw(size, size, seed=seed).double())[0].float()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.integers(-10, 10))
def test_identities(seed: int, scale: float, shift: float) -> None:
    x, y = draw(9, 6, seed=seed), draw(9, 4, seed=seed + 1) + draw(9, 6, seed=seed)[:, :4]
    value = cka((x, y))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    assert cka((x, x)) == pytest.approx(1, abs=1e-9)
    assert cka((y, x)) == pytest.approx(value, abs=1e-9)
    assert cka((x @ orthogonal(6, seed), y)) == pytest.approx(value, abs=1e-5)
    assert cka((scale * x, y)) == pytest.approx(value, abs=1e-5)
    assert cka((x + shift, y)) == pytest.approx(value, abs=1e-4)
    assert cka((x[order], y[order])) == pytest.approx(value, abs=1e-6)
    assert value <= 1 + 1e-9


def test_it_is_not_invariant_to_every_invertible_map() -> None:
    x = draw(20, 5)
    stretched = x * torch.tensor([30.0, 1.0, 1.0, 1.0, 1.0])
    assert cka((x, stretched)) < 0.9
    assert cka((x, x[torch.arange(19, -1, -1)])) < 0.5  # nor to a permutation of the samples of one side


def test_a_large_mean_costs_no_digits() -> None:
    x, y = draw(16, 8), draw(16, 8, seed=1) + draw(16, 8)
    assert cka((x + 1000, y)) == pytest.approx(literal_cka([(x, y)]), abs=1e-3)
    # Taken in float32 without the mean subtracted first, it would be off in the first digit.
    plain = (x + 10_000) @ (x + 10_000).T
    first, second = u_centred(plain).flatten(), u_centred(y @ y.T).flatten()
    assert abs(float(first @ second / first.norm() / second.norm()) - literal_cka([(x, y)])) > 0.05


def test_a_layer_that_always_answers_the_same_is_nan() -> None:
    assert math.isnan(cka((torch.full((8, 5), 0.1), draw(8, 3))))
    assert math.isnan(cka((torch.zeros(8, 5), draw(8, 3))))
    assert not gram(torch.full((8, 5), 0.1)).any()


def test_the_standard_error_is_the_jackknife_and_close_to_the_real_spread() -> None:
    def batches(seed: int) -> list[tuple[Tensor, Tensor]]:
        found = []
        for batch in range(10):
            x = draw(16, 4, seed=1000 * seed + batch)
            found.append((x, x + draw(16, 4, seed=1000 * seed + batch + 500)))
        return found

    total = SimilarityTotal()
    for x, y in batches(0):
        grams = LayerGrams(16), LayerGrams(16)
        grams[0]("x", x)
        grams[1]("y", y)
        total.add(*grams)
    error = float(total.result().error)
    left_out = torch.tensor([cka(*(batches(0)[:i] + batches(0)[i + 1 :])) for i in range(10)], dtype=torch.float64)
    assert error == pytest.approx(math.sqrt(9 / 10 * float((left_out - left_out.mean()).square().sum())), rel=1e-6)
    repeated = torch.tensor([cka(*batches(seed)) for seed in range(60)])
    assert 0.4 < error / float(repeated.std()) < 2.5


def test_one_batch_has_no_standard_error() -> None:
    found = similarity(small(), small(), [(draw(5, 1, 8, 8),) * 2])
    assert found.error.isnan().all()


def test_each_network_runs_once_a_batch_whatever_the_number_of_layers() -> None:
    network, other = small(), small(1)
    calls = {"network": 0, "other": 0}
    network.register_forward_pre_hook(lambda *_: calls.__setitem__("network", calls["network"] + 1))
    other.register_forward_pre_hook(lambda *_: calls.__setitem__("other", calls["other"] + 1))
    similarity(network, other, [(draw(5, 1, 8, 8),) * 2] * 3)
    assert calls == {"network": 3, "other": 3}


def test_networks_that_see_the_same_images_in_different_sizes() -> None:
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    second = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    small_images, large_images = draw(6, 1, 8, 8), draw(6, 3, 20, 20)
    found = similarity(first, second, [(small_images, large_images)])
    assert found.cka.shape == (1, 1)


def test_a_network_against_itself_is_one_on_the_diagonal_and_symmetric() -> None:
    network = small()
    found = similarity(network, network, [(draw(12, 1, 8, 8, seed=seed),) * 2 for seed in range(2)])
    assert torch.allclose(found.cka.diagonal(), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(found.cka, found.cka.T)
    assert 0 <= found.self_gap < 1e-6


def test_the_self_check_sees_a_gram_matrix_that_is_wrong() -> None:
    values = draw(10, 6)
    assert self_check(values, gram(values)) < 1e-9
    assert self_check(values, gram(values) + torch.ones(10, 1) * torch.arange(10.0)) > 0.01
    assert self_check(torch.zeros(10, 6), gram(torch.zeros(10, 6))) == 0


def test_named_layers_calls_and_activations() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.second = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.second(self.relu(self.first(x))) + 1).flatten(1)

    torch.manual_seed(0)
    network = Twice().eval()
    images = draw(6, 1, 8, 8)
    found = similarity(network, network, [(images, images)], ["relu", "relu#1"], ["first"])
    with torch.no_grad():
        before = network.first(images)
        after = before.relu()
        last = (network.second(after) + 1).relu()
    assert (found.layers_a, found.layers_b) == (("relu", "relu#1"), ("first",))
    # The convolution's own output, though the ReLU behind it works in place.
    assert float(found.cka[0, 0]) == pytest.approx(literal_cka([(after.flatten(1), before.flatten(1))]), rel=1e-4)
    assert float(found.cka[1, 0]) == pytest.approx(literal_cka([(last.flatten(1), before.flatten(1))]), rel=1e-4)


def test_windows_of_attention_are_put_back_together() -> None:
    x, y = draw(6, 8), draw(6, 3, seed=1)
    assert cka((x.reshape(6, 8), y)) == cka((x, y))
    total = SimilarityTotal()
    grams = LayerGrams(6), LayerGrams(6)
    grams[0]("x", x.reshape(12, 2, 2))
    grams[1]("y", y)
    total.add(*grams)
    assert float(total.result().cka) == pytest.approx(cka((x, y)))


def test_batch_norm_in_training_mode_is_untouched() -> None:
    network = small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    similarity(network, network, [(draw(5, 1, 8, 8),) * 2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_the_networks_are_left_alone_when_it_fails() -> None:
    network = small().train()
    with pytest.raises(InputError):
        similarity(network, network, [(draw(5, 1, 8, 8), draw(3, 1, 8, 8))])
    with pytest.raises(RuntimeError):
        similarity(network, network, [(draw(5, 1, 8, 8), draw(5, 2, 8, 8))])
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_mistakes_are_sentences() -> None:
    network, images = small(), draw(5, 1, 8, 8)
    with pytest.raises(InputError, match="layer '33' is not in Sequential; the nearest are '3'"):
        similarity(network, network, [(images, images)], ["33"])
    with pytest.raises(InputError, match="at least 4 images in a batch; found 3"):
        similarity(network, network, [(images[:3], images[:3])])
    with pytest.raises(InputError, match="batches of 5 and 4"):
        similarity(network, network, [(images, images[:4])])
    with pytest.raises(InputError, match="no image to compare on"):
        similarity(network, network, [])
    with pytest.raises(InputError, match="no convolution or linear layer to compare"):
        similarity(nn.Sequential(nn.ReLU(), nn.Flatten()), network, [(images, images)])
    broken = small()
    broken[3].weight.data[0] = torch.nan
    with pytest.raises(InputError, match="layer '3' of the second network returns NaN or infinity"):
        similarity(network, broken, [(images, images)])

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1).mean(0, keepdim=True)).expand(len(x), -1)

    with pytest.raises(InputError, match=r"layer 'fc' returns \(1, 3\) for 5 images"):
        similarity(network, Pooled(), [(images, images)], layers_b=["fc"])


def test_layers_that_do_not_look_at_the_images_are_passed_over() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = nn.Linear(2, 3), nn.Conv2d(1, 3, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).flatten(1) + self.table(torch.ones(1, 2))

    found = similarity(Biased(), small(), [(draw(5, 1, 8, 8),) * 2])
    assert found.layers_a == ("conv",)
