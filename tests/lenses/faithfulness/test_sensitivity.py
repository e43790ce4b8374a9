"""Sensitivity-n: a loop, a linear model for which it must be 1, and maps that know nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from faithfulness_networks import DOG, Linear, small

from cutaway.errors import InputError
from cutaway.lenses.faithfulness import removals, sensitivity
from cutaway.lenses.faithfulness.sensitivity import correlation


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def linear(count: int = 3) -> tuple[Linear, torch.Tensor]:
    torch.manual_seed(0)
    return Linear(torch.randn(2, 2, 6, 6)), torch.randn(count, 2, 6, 6)


def test_for_a_linear_model_input_times_gradient_foretells_every_drop() -> None:
    network, images = linear()
    heat = (network.weight[1] * images).sum(1)
    found = sensitivity(removals(network, images, DOG), heat)
    assert found.correlations.shape == (3, 6)
    assert torch.allclose(found.correlations, torch.ones(3, 6), atol=1e-4)
    assert torch.allclose(found.score, torch.ones(3), atol=1e-4)


def test_the_opposite_map_is_minus_1_and_a_factor_does_not_matter() -> None:
    network, images = linear()
    drops, heat = removals(network, images, DOG), (network.weight[1] * images).sum(1)
    assert torch.allclose(sensitivity(drops, -7 * heat).score, -torch.ones(3), atol=1e-4)


def test_from_another_baseline_the_true_contributions_are_those_of_the_distance() -> None:
    network, images = linear()
    heat = (network.weight[1] * (images - 0.4)).sum(1)
    assert torch.allclose(
        sensitivity(removals(network, images, DOG, baseline=0.4), heat).score, torch.ones(3), atol=1e-4
    )


def test_it_is_the_loop() -> None:
    network, images, heat = small().eval(), torch.randn(2, 2, 8, 8), torch.randn(2, 8, 8)
    drops = removals(network, images, DOG, fractions=(0.1, 0.5), subsets=7, seed=3, batch=5)
    found = sensitivity(drops, heat)
    for index, image in enumerate(images):
        for size in range(2):
            sums, losses = [], []
            for chosen in drops.sets[size]:
                without = image.clone()
                without[:, chosen] = 0
                with torch.no_grad():
                    losses.append(float(network(image[None])[0, 1] - network(without[None])[0, 1]))
                sums.append(float(heat[index][chosen].sum()))
            assert float(found.correlations[index, size]) == pytest.approx(np.corrcoef(sums, losses)[0, 1], abs=1e-4)


def test_the_sets_have_their_sizes_and_come_from_the_seed() -> None:
    network, images = small(), torch.randn(1, 2, 8, 8)
    first, again, other = (removals(network, images, DOG, seed=seed) for seed in (0, 0, 1))
    counts = first.sets.sum((2, 3))
    assert (counts == torch.tensor([1, 3, 6, 13, 26, 51])[:, None]).all()
    assert torch.equal(first.sets, again.sets)
    assert not torch.equal(first.sets, other.sets)


def test_a_large_image_loses_cells_and_a_small_one_pixels() -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    assert removals(network, torch.randn(1, 2, 28, 28), DOG, subsets=2).cell == 1
    found = removals(network, torch.randn(1, 2, 40, 61), DOG, subsets=2)
    assert found.cell == 3
    assert found.sets.shape == (6, 2, 40, 61)
    block = found.sets[0, 0, :39, :60].view(13, 3, 20, 3)
    assert torch.equal(block.all(3).all(1), block.any(3).any(1))


def test_a_random_map_and_a_flat_one_foretell_nothing() -> None:
    network, images = linear(40)
    drops = removals(network, images, DOG)
    random = torch.randn(40, 6, 6, generator=torch.Generator().manual_seed(5))
    assert abs(float(sensitivity(drops, random).score.mean())) < 0.1
    assert (sensitivity(drops, torch.full((40, 6, 6), 0.1)).score == 0).all()


def test_an_image_does_not_depend_on_its_batch() -> None:
    network, images, heat = small(), torch.randn(3, 2, 8, 8), torch.randn(3, 8, 8)
    together = sensitivity(removals(network, images, DOG, batch=7), heat)
    single = sensitivity(removals(network, images[[2]], DOG), heat[[2]])
    assert torch.allclose(together.correlations[2], single.correlations[0], atol=1e-4)


def test_the_correlation_of_a_constant_is_0() -> None:
    moving = torch.tensor([[1.0, 2.0, 4.0]])
    assert correlation(moving, torch.tensor([[0.1, 0.1, 0.1]])).tolist() == [0]
    assert correlation(moving, -moving).tolist() == [-1]


def test_what_cannot_be_measured_is_one_sentence() -> None:
    network, images = linear()
    with pytest.raises(InputError, match="a correlation needs at least 2 sets of each size; found 1"):
        removals(network, images, DOG, subsets=1)
    with pytest.raises(InputError, match=r"heat must be \(N, H, W\) like the images, \(3, 6, 6\); found \(3, 5, 6\)"):
        sensitivity(removals(network, images, DOG, subsets=2), torch.zeros(3, 5, 6))
