"""The pointing game and its relatives: constants by hand, loops, and the maps that know all or nothing."""

from __future__ import annotations

import pytest
import torch

from cutaway import load_data
from cutaway.errors import InputError
from cutaway.lenses.faithfulness import pointing


def test_a_map_by_hand() -> None:
    heat = torch.tensor([[[4.0, 2.0, 0.0], [1.0, -8.0, 1.0], [0.0, 3.0, 5.0]]])
    mask = torch.tensor([[[True, True, False], [True, False, False], [False, False, False]]])
    found = pointing(heat, mask)
    assert found.hit.tolist() == [0]  # the 5 is outside
    assert found.mass.tolist() == [7 / 16]  # 4 + 2 + 1 of 4 + 2 + 1 + 1 + 3 + 5
    assert found.iou.tolist() == pytest.approx([1 / 5])  # the hottest three are 5, 4, 3; one of them is inside
    assert found.area.tolist() == pytest.approx([3 / 9])


def test_several_hottest_pixels_share_the_hit() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0] = True
    assert pointing(torch.ones(1, 4, 4), mask).hit.tolist() == [0.25]


def test_the_mask_itself_is_perfect_and_its_opposite_is_nothing() -> None:
    masks = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    for heat, value in ((masks.float(), 1.0), (-masks.float(), 0.0)):
        found = pointing(heat, masks)
        assert found.hit.tolist() == [value] * 5
        assert found.mass.tolist() == [value] * 5
    assert pointing(masks.float(), masks).iou.tolist() == [1.0] * 5


def test_a_random_map_has_what_the_area_foretells() -> None:
    masks = torch.zeros(2000, 6, 6, dtype=torch.bool)
    masks[:, 1:4, 2:5] = True
    found = pointing(torch.rand(2000, 6, 6, generator=torch.Generator().manual_seed(0)), masks)
    assert float(found.hit.mean()) == pytest.approx(0.25, abs=0.03)
    assert float(found.mass.mean()) == pytest.approx(0.25, abs=0.03)
    assert found.area.unique().tolist() == [0.25]


def test_it_takes_the_masks_of_shapes() -> None:
    split = load_data("shapes").splits["test"]
    masks = torch.from_numpy(split.masks[:4])
    found = pointing(masks.float(), masks)
    assert found.hit.tolist() == [1.0] * 4
    assert ((found.area > 0) & (found.area < 1)).all()


def test_bad_masks_are_one_sentence() -> None:
    with pytest.raises(InputError, match=r"both be \(N, H, W\); found \(1, 4, 4\) and \(1, 5, 4\)"):
        pointing(torch.zeros(1, 4, 4), torch.zeros(1, 5, 4))
    with pytest.raises(InputError, match="mask 1 is empty"):
        pointing(torch.zeros(2, 4, 4), torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]))
