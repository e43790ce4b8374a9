"""ROAD: the imputation against a dense solve and its peer, and the two orders against a loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from faithfulness_networks import DOG, OnePixel, small
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.faithfulness import impute, road


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def dense(image: Tensor, gone: Tensor) -> Tensor:
    """The linear system of one image (C, H, W), written out as a matrix and solved."""
    channels, height, width = image.shape
    system, right = torch.eye(height * width, dtype=torch.float64), torch.zeros(height * width, channels).double()
    for row, column in itertools.product(range(height), range(width)):
        here = row * width + column
        if not gone[row, column]:
            right[here] = image[:, row, column].double()
            continue
        system[here, here] = 0
        for down, across in itertools.product((-1, 0, 1), repeat=2):
            inside = 0 <= row + down < height and 0 <= column + across < width
            if (down or across) and inside:
                weight = 1 / 12 if down and across else 1 / 6
                system[here, here] += weight
                system[here, here + down * width + across] -= weight
    return torch.linalg.solve(system, right).T.view_as(image)


def holes(count: int, height: int, width: int, share: float) -> Tensor:
    """A random half and a disc, so that there are small holes and a large one."""
    draws = torch.rand(count, height, width, generator=torch.Generator().manual_seed(1)) < share
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    draws[0] = (rows - height // 2) ** 2 + (columns - width // 3) ** 2 < (min(height, width) / 2.2) ** 2
    return draws


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 20), (13, 7), (28, 28)])
def test_the_imputed_pixels_solve_the_dense_system(height: int, width: int) -> None:
    images = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0)).double()
    gone = holes(3, height, width, 0.7)
    found = impute(images, gone, 1e-11)
    for image, hole, filled in zip(images, gone, found, strict=True):
        assert torch.allclose(filled, dense(image, hole), atol=1e-8)
    kept = ~gone[:, None].expand_as(images)
    assert torch.equal(found[kept], images[kept])


def test_the_default_tolerance_is_far_below_the_noise() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = (torch.sin(rows / 7) + torch.cos(columns / 11))[None, None].repeat(1, 3, 1, 1)
    gone = holes(1, 64, 64, 0.5)
    exact = impute(images.double(), gone, 1e-11)
    assert float((impute(images, gone) - exact).abs().max()) < 2e-3


def test_a_pixel_between_four_known_ones() -> None:
    """(2 (1 + 2 + 3 + 4) + 0) / 12: side neighbours count twice as much as corners."""
    image = torch.tensor([[0.0, 1.0, 0.0], [2.0, 9.0, 3.0], [0.0, 4.0, 0.0]])[None, None]
    gone = torch.zeros(1, 3, 3, dtype=torch.bool)
    gone[0, 1, 1] = True
    assert float(impute(image, gone, 1e-7)[0, 0, 1, 1]) == pytest.approx(20 / 12, abs=1e-6)


def test_a_constant_image_stays_and_nothing_gone_changes_nothing() -> None:
    images = torch.full((2, 1, 9, 9), 0.7)
    assert torch.allclose(impute(images, holes(2, 9, 9, 0.6)), images, atol=1e-6)
    noise = torch.randn(1, 1, 9, 9)
    assert torch.equal(impute(noise, torch.zeros(1, 9, 9, dtype=torch.bool)), noise)


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, gone = torch.randn(3, 2, 12, 12), holes(3, 12, 12, 0.4)
    together = impute(images, gone)
    for index in range(3):
        assert torch.allclose(impute(images[[index]], gone[[index]])[0], together[index], atol=1e-6)


def test_the_peer_imputes_the_same() -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.road").NoisyLinearImputer(noise=0.0)
    image, gone = torch.randn(2, 14, 10), holes(1, 14, 10, 0.5)[0]
    theirs = peer(image, (~gone).float())
    assert torch.allclose(impute(image[None], gone[None], 1e-7)[0], theirs, atol=1e-5)


def test_it_is_the_loop_over_both_orders() -> None:
    network, images, heat = small().eval(), torch.randn(2, 2, 8, 8), torch.randn(2, 8, 8)
    fractions = (0.25, 0.5)
    found = road(network, images, heat, DOG, fractions=fractions, noise=0.0, batch=3)
    for index, (image, one) in enumerate(zip(images, heat, strict=True)):
        scores = {}
        for least, share in itertools.product((False, True), fractions):
            order = one.flatten().argsort(descending=not least)
            gone = torch.zeros(64, dtype=torch.bool)
            gone[order[: round(share * 64)]] = True
            with torch.no_grad():
                logits = network(dense(image, gone.view(8, 8)).float()[None])
            scores[least, share] = float(logits.softmax(1)[0, 1])
        assert found.most[index].tolist() == pytest.approx([scores[False, share] for share in fractions], abs=1e-4)
        assert found.least[index].tolist() == pytest.approx([scores[True, share] for share in fractions], abs=1e-4)
    assert torch.allclose(found.score, (found.least - found.most).mean(1))


def test_a_perfect_map_scores_near_1_its_opposite_near_minus_1_and_a_random_one_near_0() -> None:
    images = torch.zeros(1, 3, 6, 6)
    images[..., 2, 3] = 1
    perfect = torch.zeros(1, 6, 6)
    perfect[0, 2, 3] = 1
    scores = {sign: road(OnePixel(), images, sign * perfect, DOG).score for sign in (1, -1)}
    assert float(scores[1]) > 0.95
    assert float(scores[-1]) < -0.95
    heat = torch.rand(100, 6, 6, generator=torch.Generator().manual_seed(0))
    random = road(OnePixel(), images.expand(100, -1, -1, -1), heat, DOG)
    assert float(random.score.mean()) == pytest.approx(0, abs=0.12)


def test_the_noise_comes_from_the_seed_and_is_the_same_for_all_images() -> None:
    network, images, heat = small(), torch.randn(2, 2, 8, 8), torch.randn(2, 8, 8)
    first, again, other = (road(network, images, heat, DOG, noise=0.5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.most, again.most)
    assert not torch.equal(first.most, other.most)
    single = road(network, images[[1]], heat[[1]], DOG, noise=0.5, seed=0)
    assert torch.allclose(single.most[0], first.most[1], atol=1e-5)


def test_what_cannot_be_imputed_is_one_sentence() -> None:
    with pytest.raises(InputError, match="every pixel of an image is gone"):
        impute(torch.zeros(1, 1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"fractions must be shares above 0 and below 1; found \(0\.5, 1\)"):
        road(small(), torch.randn(1, 2, 8, 8), torch.rand(1, 8, 8), DOG, fractions=(0.5, 1))
