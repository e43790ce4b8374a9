"""Deletion and insertion against a double loop, constants, and the maps that must be best and worst."""

from __future__ import annotations

import pytest
import torch
from faithfulness_networks import DOG, Linear, OnePixel, small
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.faithfulness import deletion, insertion
from cutaway.lenses.faithfulness.scoring import blurred
from cutaway.lenses.targets import parse_target


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def by_hand(
    network: torch.nn.Module, image: Tensor, heat: Tensor, steps: int, start: Tensor, end: Tensor
) -> list[float]:
    """The probabilities of class 1 while pixels of `start` become those of `end`, one image a step."""
    network.eval()
    pixels = sorted(range(heat.numel()), key=lambda pixel: (-float(heat.flatten()[pixel]), pixel))
    found = []
    for step in range(steps + 1):
        changed = start.clone()
        for pixel in pixels[: step * len(pixels) // steps]:
            row, column = divmod(pixel, heat.shape[1])
            changed[:, row, column] = end[:, row, column]
        with torch.no_grad():
            found.append(float(network(changed[None]).softmax(1)[0, 1]))
    return found


@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_it_is_the_double_loop(kind: str) -> None:
    network, images, heat = small(), torch.randn(3, 2, 8, 8), torch.randn(3, 8, 8).round(decimals=1)
    grey = torch.full_like(images, 0.25)
    measure = deletion if kind == "deletion" else insertion
    curve = measure(network, images, heat, DOG, steps=5, baseline=0.25, batch=4)
    assert curve.fractions.tolist() == pytest.approx([0, 12 / 64, 25 / 64, 38 / 64, 51 / 64, 1])
    for index, image in enumerate(images):
        ends = (image, grey[index]) if kind == "deletion" else (grey[index], image)
        slow = by_hand(small(), image, heat[index], 5, *ends)
        assert curve.scores[index].tolist() == pytest.approx(slow, abs=1e-6)
        area = sum(
            (float(curve.fractions[step + 1]) - float(curve.fractions[step])) * (slow[step] + slow[step + 1]) / 2
            for step in range(5)
        )
        assert float(curve.area[index]) == pytest.approx(area, abs=1e-6)


def test_a_line_has_the_area_of_a_triangle() -> None:
    """16 pixels of 1 whose score is their sum: it falls from 16 to 0 evenly, and the area is 8."""
    network = Linear(torch.ones(2, 1, 4, 4))
    network.bias.data.zero_()
    curve = deletion(network, torch.ones(1, 1, 4, 4), torch.zeros(1, 4, 4), DOG, steps=4, measure="score")
    assert curve.scores.tolist() == [[16, 12, 8, 4, 0]]
    assert curve.area.tolist() == [8]


def test_equal_pixels_go_in_their_order() -> None:
    weight = torch.stack([torch.zeros(16), torch.arange(16.0)]).view(2, 1, 4, 4)
    network = Linear(weight)
    network.bias.data.zero_()
    curve = deletion(network, torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4), DOG, steps=16, measure="score")
    assert curve.scores[0].tolist() == [120 - sum(range(step)) for step in range(17)]


def test_a_perfect_map_is_near_0_and_1_and_the_worst_one_the_other_way() -> None:
    images = torch.ones(1, 3, 6, 6)
    perfect = torch.zeros(1, 6, 6)
    perfect[0, 2, 3] = 1
    for heat, low, high in ((perfect, 0.0, 0.03), (-perfect, 0.97, 1.0)):
        gone = deletion(OnePixel(), images, heat, DOG, steps=36)
        assert low <= float(gone.area) <= high
        come = insertion(OnePixel(), images, heat, DOG, steps=36, baseline=0.0)
        assert low <= 1 - float(come.area) <= high


def test_a_random_map_lies_between() -> None:
    heat = torch.rand(200, 6, 6, generator=torch.Generator().manual_seed(0))
    curve = deletion(OnePixel(), torch.ones(200, 3, 6, 6), heat, DOG, steps=36)
    assert float(curve.area.mean()) == pytest.approx(0.5, abs=0.06)


def test_a_batch_is_so_many_single_images_and_chunks_do_not_matter() -> None:
    network, images, heat = small(), torch.randn(3, 2, 8, 8), torch.randn(3, 8, 8)
    target = parse_target([0, 1, 2])
    together = insertion(network, images, heat, target, steps=6, batch=5)
    single = [insertion(network, images[[i]], heat[[i]], target.of([i]), steps=6, batch=64) for i in range(3)]
    assert torch.allclose(together.scores, torch.cat([one.scores for one in single]), atol=1e-6)
    assert torch.allclose(together.area, torch.cat([one.area for one in single]), atol=1e-6)


def test_both_curves_end_where_the_other_begins() -> None:
    network, images, heat = small(), torch.randn(2, 2, 8, 8), torch.randn(2, 8, 8)
    gone = deletion(network, images, heat, DOG, steps=4, baseline="blur")
    come = insertion(network, images, heat, DOG, steps=4)
    assert torch.allclose(gone.scores[:, 0], come.scores[:, -1], atol=1e-6)
    assert torch.allclose(gone.scores[:, -1], come.scores[:, 0], atol=1e-6)


def test_a_unit_and_a_difference_are_measured_by_their_raw_score() -> None:
    network, images, heat = small().eval(), torch.randn(2, 2, 8, 8), torch.randn(2, 8, 8)
    with torch.no_grad():
        logits, maps = network(images), network[:5](images)
    unit = deletion(network, images, heat, parse_target("4:3"), steps=2)
    assert torch.allclose(unit.scores[:, 0], maps[:, 3].mean((1, 2)), atol=1e-6)
    difference = deletion(network, images, heat, parse_target((2, 0)), steps=2)
    assert torch.allclose(difference.scores[:, 0], logits[:, 2] - logits[:, 0], atol=1e-6)


def test_the_blur_is_a_gaussian() -> None:
    """A bright pixel becomes the kernel, here written as a double loop."""
    image = torch.zeros(1, 1, 15, 15)
    image[0, 0, 7, 7] = 1
    kernel = torch.tensor([[torch.exp(torch.tensor(-(y**2 + x**2) / 2.0)) for x in range(-3, 4)] for y in range(-3, 4)])
    found = blurred(image, 1.0)[0, 0]
    assert torch.allclose(found[4:11, 4:11], kernel / kernel.sum(), atol=1e-6)
    assert torch.allclose(blurred(torch.full((1, 2, 9, 9), 0.3), 2.0), torch.full((1, 2, 9, 9), 0.3))


def test_the_network_is_left_as_it_was() -> None:
    network, images = small(), torch.randn(2, 2, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    deletion(network, images, torch.rand(2, 8, 8), DOG, steps=2)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(value.requires_grad for value in network.parameters())


def test_progress_tells_how_far_it_is() -> None:
    told: list[tuple[str, int, int]] = []
    deletion(
        small(),
        torch.randn(2, 2, 8, 8),
        torch.rand(2, 8, 8),
        DOG,
        steps=4,
        batch=4,
        progress=lambda label, done, total: told.append((label, done, total)),
    )
    assert told == [("deletion", 4, 10), ("deletion", 8, 10), ("deletion", 10, 10)]


def test_what_cannot_be_measured_is_one_sentence() -> None:
    network, images = small(), torch.randn(2, 2, 8, 8)
    with pytest.raises(InputError, match=r"heat must be \(N, H, W\) like the images, \(2, 8, 8\); found \(2, 4, 4\)"):
        deletion(network, images, torch.rand(2, 4, 4), DOG)
    with pytest.raises(InputError, match="heat has values that are not finite"):
        deletion(network, images, torch.full((2, 8, 8), torch.nan), DOG)
    with pytest.raises(InputError, match="a deletion curve needs at least one step; found 0"):
        deletion(network, images, torch.rand(2, 8, 8), DOG, steps=0)
    with pytest.raises(InputError, match="2 images need one target for all or 2; found 3"):
        deletion(network, images, torch.rand(2, 8, 8), parse_target([0, 1, 2]))
    network[7].weight.data[1] = torch.inf
    with pytest.raises(InputError, match="the score of dog is not finite; layer '7' is the first"):
        deletion(network, images, torch.rand(2, 8, 8), DOG, measure="score")
