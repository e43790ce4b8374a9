"""Model randomisation: what is scrambled, that the user's network is not, and how maps are compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from faithfulness_networks import small
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.faithfulness import randomisation, scrambled, similarity, spearman
from cutaway.lenses.faithfulness.randomisation import layers_of


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def gradient(images: Tensor) -> object:
    """The gradient of class 1 as an explanation of any network."""

    def explain(network: nn.Module) -> Tensor:
        network.eval()
        given = images.clone().requires_grad_()
        return torch.autograd.grad(network(given)[:, 1].sum(), given)[0].sum(1)

    return explain


def edges(images: Tensor) -> object:
    """A map that looks at the image alone."""
    return lambda network: images.diff(dim=3, prepend=images[..., :1]).abs().sum(1)


def test_every_weight_keeps_its_values_and_loses_their_places() -> None:
    network = small()
    twin = scrambled(network, seed=1)
    for (name, before), after in zip(network.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(before.flatten().sort()[0], after.flatten().sort()[0]), name
        assert before.numel() < 20 or not torch.equal(before, after), name
    for before, after in zip(network.buffers(), twin.buffers(), strict=True):
        assert torch.equal(before, after)


def test_the_network_itself_is_not_changed() -> None:
    network, images = small(), torch.randn(2, 2, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    explain = gradient(images)
    heat = explain(network.eval())
    network.train()
    randomisation(network, heat, explain, cascade=True)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_the_cascade_goes_from_the_top_down_and_keeps_what_was_scrambled() -> None:
    network = small()
    assert layers_of(network) == ["7", "4", "1", "0"]
    one, two = scrambled(network, 0, 1), scrambled(network, 0, 2)
    assert torch.equal(one[4].weight, network[4].weight)
    assert not torch.equal(two[4].weight, network[4].weight)
    assert torch.equal(one[7].weight, two[7].weight)


def test_the_seed_decides() -> None:
    first, again, other = (scrambled(small(), seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_map_of_the_weights_changes_and_a_map_of_the_image_does_not() -> None:
    network, images = small().eval(), torch.randn(6, 2, 8, 8)
    for make, low, high in ((gradient(images), -0.5, 0.5), (edges(images), 1 - 1e-6, 1)):
        found = randomisation(network, make(network), make)
        assert found.rank.shape == found.structure.shape == (6, 1)
        assert low <= float(found.rank.mean()) <= high
        assert low <= float(found.structure.mean()) <= high
    cascade = randomisation(network, gradient(images)(network), gradient(images), cascade=True)
    assert cascade.rank.shape == (6, 4)
    assert cascade.layers == ("7", "4", "1", "0")
    assert torch.allclose(
        cascade.rank[:, -1], randomisation(network, gradient(images)(network), gradient(images)).rank[:, 0]
    )


def test_spearman_is_that_of_the_definition_with_ties() -> None:
    first, second = (torch.randint(0, 5, (3, 6, 7)).float() for _ in range(2))

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.array([(values < one).sum() + ((values == one).sum() + 1) / 2 for one in values])

    for index in range(3):
        one, two = (ranks(heat[index].flatten().numpy()) for heat in (first, second))
        assert float(spearman(first, second)[index]) == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-6)


def test_spearman_of_any_rising_function_is_1_and_of_a_flat_map_0() -> None:
    heat = torch.randn(2, 5, 5)
    assert torch.allclose(spearman(heat, heat.exp()), torch.ones(2))
    assert torch.allclose(spearman(heat, -heat), -torch.ones(2))
    assert spearman(heat, torch.ones(2, 5, 5)).tolist() == [0, 0]


def test_spearman_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = torch.randn(9, 9).round(decimals=1), torch.randn(9, 9).round(decimals=1)
    theirs = stats.spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic
    assert float(spearman(first[None], second[None])) == pytest.approx(theirs, abs=1e-6)


def test_structural_similarity_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = torch.rand(2, 20, 24), torch.rand(2, 20, 24)
    found = similarity(first, second)
    for index in range(2):
        one, two = ((heat[index] / heat[index].max()).double().numpy() for heat in (first, second))
        theirs = metrics.structural_similarity(one, two, data_range=2, win_size=7, use_sample_covariance=False)
        assert float(found[index]) == pytest.approx(theirs, abs=1e-4)


def test_structural_similarity_of_a_map_with_itself_is_1_whatever_its_factor() -> None:
    heat = torch.randn(2, 12, 12)
    assert torch.allclose(similarity(heat, 5 * heat), torch.ones(2), atol=1e-5)
    assert torch.allclose(similarity(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)), torch.ones(1))


def test_a_network_without_weights_is_one_sentence() -> None:
    with pytest.raises(InputError, match="Flatten has no weights, so there is nothing to scramble"):
        randomisation(nn.Flatten(), torch.zeros(1, 4, 4), lambda network: torch.zeros(1, 4, 4))


def test_a_network_that_cannot_be_copied_is_one_sentence() -> None:
    network = nn.Linear(2, 2)
    network.generator = (number for number in range(3))
    with pytest.raises(InputError, match="Linear cannot be copied, so its weights cannot be scrambled: "):
        scrambled(network)
