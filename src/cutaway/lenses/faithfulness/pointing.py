"""Where the truth is known: does the heat lie on the object?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.faithfulness.scoring import positions
from cutaway.showing import Shown


@dataclass(frozen=True, eq=False)
class Pointing(Shown):
    """How a map's heat lies on known objects; each number is for one image, float32 (N,), 0 .. 1.

    Attributes:
        hit: whether the hottest pixel lies inside the mask; of several equally hot ones, the share that does.
        mass: the share of the positive heat that lies inside.
        iou: intersection over union of the mask and as many of the hottest pixels as the mask has.
        area: the share of the image that the mask covers: what `hit` and `mass` are for a map that knows nothing.
    """

    hit: Tensor
    mass: Tensor
    iou: Tensor
    area: Tensor


def pointing(heat: Tensor, masks: Tensor) -> Pointing:
    """The pointing game (Zhang et al., 2018), the heat's mass inside the mask, and the overlap at the mask's size.

    Zhang et al. also count a hottest pixel up to 15 pixels beside the object as a hit; here it must lie inside.

    Args:
        heat: float (N, H, W), larger where a pixel speaks more for the target.
        masks: bool (N, H, W), where the object is; `load_data("shapes").splits["test"].masks` has them.

    Raises:
        InputError: shapes that differ, or a mask that is empty.

    >>> found = pointing(torch.tensor([[[3.0, 1.0], [-5.0, 0.0]]]), torch.tensor([[[True, False], [True, False]]]))
    >>> found.hit.item(), found.mass.item(), round(found.iou.item(), 3), found.area.item()
    (1.0, 0.75, 0.333, 0.5)
    """
    masks = torch.as_tensor(masks, device=heat.device).bool()
    if heat.ndim != 3 or heat.shape != masks.shape:
        raise InputError(f"heat and masks must both be (N, H, W); found {tuple(heat.shape)} and {tuple(masks.shape)}")
    heat, inside = heat.detach().float().flatten(1), masks.flatten(1)
    empty = (~inside.any(1)).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"mask {empty[0]} is empty, so nothing can point at its object; leave that image out")
    top = heat == heat.amax(1, keepdim=True)
    positive = heat.clamp_min(0)
    return Pointing(
        hit=(top & inside).sum(1) / top.sum(1),
        mass=_share((positive * inside).sum(1), positive.sum(1)),
        iou=_overlap(heat, inside),
        area=inside.float().mean(1),
    )


def _overlap(heat: Tensor, inside: Tensor) -> Tensor:
    """Intersection over union of each mask with the same number of hottest pixels."""
    hottest = positions(heat.unsqueeze(1)) < inside.sum(1, keepdim=True)
    return (hottest & inside).sum(1) / (hottest | inside).sum(1)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """`part` of `whole`; 0 where the whole is 0: a map without positive heat puts none of it inside."""
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo(whole.dtype).tiny), torch.zeros_like(part))
