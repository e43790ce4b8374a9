"""Random views: one affine map a step, the same for all images, by hand where a person can follow it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cutaway.lenses.synthesis.robust import Robustness, pixels_of

COUNTED = torch.arange(16.0).view(1, 1, 4, 4)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Fixed(Robustness):
    """The view of one map."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        object.__setattr__(self, "rows", torch.tensor(rows))

    def draw(self, generator: torch.Generator, height: int, width: int) -> Tensor:
        return self.rows  # type: ignore[attr-defined, no-any-return]  # set above


def test_nothing_to_do_changes_nothing() -> None:
    torch.testing.assert_close(Robustness()(COUNTED, random()), COUNTED, atol=1e-5, rtol=0)


def test_a_shift_of_one_pixel_shows_zero_from_outside() -> None:
    seen = Fixed([1.0, 0.0, 0.5], [0.0, 1.0, 0.0])(COUNTED, random())
    expected = torch.cat([COUNTED[..., 1:], torch.zeros(1, 1, 4, 1)], dim=3)
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_a_quarter_turn_turns_pixels_of_a_square() -> None:
    seen = Fixed([0.0, -1.0, 0.0], [1.0, 0.0, 0.0])(COUNTED, random())
    torch.testing.assert_close(seen[0, 0], torch.rot90(COUNTED[0, 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12)])
def test_draws_stay_within_their_ends_and_turns_keep_distances(height: int, width: int) -> None:
    robust = Robustness(shift=2.0, scales=(0.8, 1.25), degrees=30.0)
    generator = random()
    for _ in range(50):
        place = robust.draw(generator, height, width)
        # In pixels of the image, not in its stretched places.
        pixels = torch.diag(torch.tensor([width / 2, height / 2]))
        turn = pixels @ place[:, :2] @ pixels.inverse()
        zoom = float(turn.det().sqrt())
        assert 1 / 1.25 - 1e-5 <= zoom <= 1 / 0.8 + 1e-5
        torch.testing.assert_close(turn @ turn.T, zoom**2 * torch.eye(2), atol=1e-5, rtol=1e-5)
        assert float((pixels @ place[:, 2]).abs().max()) <= 2.0 + 1e-5


def test_a_crop_never_sees_beyond_the_image() -> None:
    robust = Robustness(crop=(0.4, 0.9))
    generator = random()
    corners = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]).T
    for _ in range(50):
        place = robust.draw(generator, 8, 8)
        assert float((place @ corners).abs().max()) <= 1 + 1e-5
        assert 0.4 <= float(place[0, 0]) <= 0.9


def test_one_draw_serves_all_images() -> None:
    images = torch.randn(3, 2, 8, 8)
    robust = Robustness(2.0, (0.9, 1.1), 10.0, noise=0.5)
    together = robust(images, random(1))
    for index in range(3):
        alone = robust(images[index : index + 1], random(1))
        torch.testing.assert_close(together[index : index + 1], alone)
    assert not torch.allclose(together, robust(images, random(2)))


def test_distances_follow_the_size() -> None:
    assert pixels_of(16, 224, 300) == 16
    assert pixels_of(16, 28, 28) == 2
