"""Which layers make a stage."""

from __future__ import annotations

from torch import nn

from cutaway.lenses.architecture import summarize
from cutaway.views.architecture import view_stages


def test_a_stage_begins_where_the_size_of_the_maps_changes() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    stages = view_stages(summarize(network, (1, 8, 8)).rows)
    assert [(stage.size, stage.first, stage.last) for stage in stages] == [
        ((8, 8), "0", "1"),
        ((4, 4), "2", "3"),
        (None, "4", "5"),
    ]
    assert [stage.channels for stage in stages] == [2, 4, 64]
    assert stages[1].parameters == 2 * 4 * 9 + 4


def test_a_padding_makes_no_stage_of_its_own() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3), nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3)
    )
    stages = view_stages(summarize(network, (1, 6, 6)).rows)
    assert [(stage.size, stage.last) for stage in stages] == [((6, 6), "4")]
