"""Unit matching, gradient sparsity and agreement of answers, from their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutaway.lenses.agreement import Agreement, mcnemar
from cutaway.lenses.matching import GRID, Correlation, best_match, placed
from cutaway.lenses.sparsity import GradientStatistics, gradient_statistics, hoyer_sparsity, spread


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 6), seed=st.integers(0, 10_000), ties=st.booleans())
def test_the_best_match_beats_every_other(rows: int, columns: int, seed: int, ties: bool) -> None:
    gain = np.random.default_rng(seed).normal(size=(rows, columns))
    gain = np.round(gain) if ties else gain
    found = best_match(gain)
    held = found >= 0
    assert held.sum() == min(rows, columns)
    assert len(set(found[held])) == held.sum()
    few, many = (gain, columns) if rows <= columns else (gain.T, rows)
    best = max(
        sum(few[row, column] for row, column in enumerate(order))
        for order in itertools.permutations(range(many), len(few))
    )
    assert gain[np.flatnonzero(held), found[held]].sum() == pytest.approx(best)


def test_the_best_match_is_scipys() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for rows, columns in ((60, 60), (40, 90), (90, 40)):
        gain = np.random.default_rng(rows).normal(size=(rows, columns))
        first, second = optimize.linear_sum_assignment(gain, maximize=True)
        found = best_match(gain)
        held = found >= 0
        assert gain[np.flatnonzero(held), found[held]].sum() == pytest.approx(gain[first, second].sum())


def test_correlation_over_batches_is_numpys_over_everything() -> None:
    first, second = draw(10, 4, 3, 3) * 5 + 1000, draw(10, 6, 3, 3, seed=1)
    second[:, :2] += (first[:, :2] - 1000) / 5
    total = Correlation("a", "b")
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        total.add(placed(first[start:stop], stop - start), placed(second[start:stop], stop - start))
    rows = [values.transpose(0, 1).reshape(values.shape[1], -1).double().numpy() for values in (first, second)]
    expected = np.corrcoef(*rows)[:4, 4:]
    assert np.allclose(total.result().correlation.numpy(), expected, atol=1e-5)
    assert total.result().partner.tolist()[:2] == [0, 1]


def test_permuted_units_are_found_again() -> None:
    maps, order = draw(20, 7, 4, 4), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    total = Correlation("a", "b")
    total.add(placed(maps, 20), placed(maps[:, order] * 3 - 2, 20))
    found = total.result()
    assert order[found.partner].tolist() == list(range(7))
    assert found.mean == pytest.approx(1, abs=1e-6)
    assert found.same_place == pytest.approx(float((order == torch.arange(7)).double().mean()))
    assert torch.allclose(found.matched, torch.ones(7), atol=1e-6)


def test_more_units_on_one_side_leave_some_alone() -> None:
    maps = draw(20, 5, 2, 2)
    total = Correlation("a", "b")
    total.add(placed(maps, 20), placed(maps[:, [4, 1]], 20))
    found = total.result()
    assert found.partner.tolist() == [-1, 1, -1, -1, 0]
    assert found.matched.isnan().tolist() == [True, False, True, True, False]
    assert found.same_place == 0.5


def test_a_unit_that_never_changes_correlates_with_nothing() -> None:
    first, second = draw(8, 2, 2, 2), draw(8, 2, 2, 2, seed=1)
    first[:, 1] = 0.1
    total = Correlation("a", "b")
    for part in range(2):
        total.add(placed(first[4 * part :][:4], 4), placed(second[4 * part :][:4], 4))
    found = total.result().correlation
    assert found[1].tolist() == [0, 0]
    assert found[0].all()


def test_places_of_maps_tokens_and_vectors() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(placed(maps, 1), maps)
    assert placed(draw(2, 3, 32, 20), 2).shape == (2, 3, GRID, GRID)
    assert torch.equal(placed(draw(2, 3), 2)[..., 0, 0], draw(2, 3))
    tokens = draw(2, 5, 3)
    assert torch.allclose(placed(tokens, 2)[..., 0, 0], tokens.mean(1))
    assert torch.allclose(placed(tokens.reshape(2, 5, 1, 3), 2, last=True)[..., 0, 0], tokens.mean(1))
    windows = tokens.reshape(2, 5, 3)[:, :4].reshape(4, 2, 3)
    assert torch.allclose(placed(windows, 2)[..., 0, 0], tokens[:, :4].mean(1))


def test_maps_of_different_sizes_are_compared_on_the_coarser_grid() -> None:
    fine = draw(30, 3, 8, 8)
    total = Correlation("a", "b")
    total.add(placed(fine, 30), placed(F.avg_pool2d(fine, 4), 30))
    assert torch.allclose(total.result().correlation.diagonal(), torch.ones(3), atol=1e-6)


def test_hoyer_sparsity_by_hand() -> None:
    assert hoyer_sparsity(torch.ones(9)) == pytest.approx(0, abs=1e-12)
    assert hoyer_sparsity(torch.tensor([0.0, 0.0, -7.0, 0.0])) == pytest.approx(1)
    # sqrt(4) = 2, l1 = 2, l2 = sqrt 2: (2 - sqrt 2) / (2 - 1)
    assert hoyer_sparsity(torch.tensor([1.0, 1.0, 0.0, 0.0])) == pytest.approx(2 - math.sqrt(2))
    assert hoyer_sparsity(torch.zeros(5)) == 1
    values = draw(50)
    assert hoyer_sparsity(values * 1e-6) == pytest.approx(hoyer_sparsity(values))


def test_gradient_statistics_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 16, 4)).eval()
    images, labels = draw(10, 1, 6, 6), torch.arange(10) % 4
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    found = gradient_statistics(network, batches)
    expected = torch.autograd.grad(F.cross_entropy(network(images), labels), [network[0].weight, network[3].weight])
    assert list(found) == ["0", "3"]
    for (layer, row), gradient in zip(found.items(), expected, strict=True):
        weight = network[int(layer)].weight.detach()
        assert row.norm == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert row.relative == pytest.approx(float(gradient.norm() / weight.norm()), rel=1e-5)
        assert row.sparsity == pytest.approx(hoyer_sparsity(gradient), rel=1e-4)
        sizes = sorted(abs(value) for value in gradient.flatten().tolist())
        assert row.near_zero == pytest.approx(sum(1 for size in sizes if size < sizes[-1] / 1000) / len(sizes))
        assert row.size == gradient.numel()
    assert all(weight.grad is None for weight in network.parameters())


def test_a_layer_without_gradient_is_all_near_zero() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network[1].bias.data.fill_(-100)
    row = gradient_statistics(network, [(draw(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))])["1"]
    assert (row.norm, row.near_zero, row.sparsity) == (0, 1, 1)


def test_spread_is_the_evenness_of_the_lengths() -> None:
    def rows(*norms: float) -> list[GradientStatistics]:
        return [GradientStatistics(str(index), norm, 1, 0, 0, 1) for index, norm in enumerate(norms)]

    assert spread(rows(2, 2, 2, 2)) == pytest.approx(1)
    assert spread(rows(5, 0, 0)) == pytest.approx(0)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert spread(rows(1, 3)) == pytest.approx(expected)
    assert spread(rows(3)) == 1


def agreement() -> Agreement:
    #            same    A right  B right   same, wrong
    logits_a = torch.tensor([[9.0, 0, 0], [3.0, 0, 0], [0, 5.0, 0], [0, 0, 2.0]])
    logits_b = torch.tensor([[1.0, 0, 0], [0, 3.0, 0], [0, 0, 0.5], [0, 0, 8.0]])
    return Agreement.of(torch.tensor([10, 4, 7, 1]), torch.tensor([0, 0, 2, 1]), logits_a, logits_b)


def test_agreement_by_hand() -> None:
    found = agreement()
    assert len(found) == 4
    assert found.share == 0.5
    assert found.accuracies == (0.5, 0.5)
    assert found.counts == {"both": 1, "only_a": 1, "only_b": 1, "neither": 1}
    assert found.p_value == 1
    # Image 1 (both about 0.9) before image 2 (the second network is unsure).
    assert found.disagreeing.tolist() == [1, 2]
    assert float(found.probability_a[0]) == pytest.approx(1 / (1 + 2 * math.exp(-9)), rel=1e-6)


def test_agreement_without_true_classes_has_no_accuracy() -> None:
    found = agreement()
    unknown = Agreement.of(
        found.positions, torch.full((4,), -1), torch.eye(3)[[0, 1, 2, 0]], torch.eye(3)[[0, 0, 2, 1]]
    )
    assert unknown.accuracies is None
    assert unknown.share == 0.5


def test_mcnemar_is_scipys_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for only_a, only_b in ((0, 0), (1, 0), (3, 9), (20, 20), (40, 61)):
        expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(expected)
    assert 0 <= mcnemar(900, 1300) < 1e-10  # 2 ** 2200 is no float
