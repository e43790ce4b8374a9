"""Every kind of bad file in a training folder: named with its reason, and the rest trains."""

from __future__ import annotations

import re
from pathlib import Path

from odd_files import BAD, noise, packed

import cutaway

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )
"""


def test_bad_files_are_quarantined_and_the_rest_trains(tmp_path: Path) -> None:
    for label, name in enumerate(("1-cat", "2-dog")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(30):
            content = packed(noise(seed=100 * label + number), "PNG")
            (tmp_path / "set" / name / f"good-{number}.png").write_bytes(content)
    for kind, (content_of, _) in BAD.items():
        (tmp_path / "set" / "1-cat" / f"bad {kind}.jpg").write_bytes(content_of())
    (tmp_path / "net.py").write_text(NETWORK)
    run = cutaway.train(
        tmp_path / "set",
        f"{tmp_path / 'net.py'}:make",
        recipe={"epochs": 1, "precision": "fp32"},
        data_options={"max_bad": 0.9},
        runs=tmp_path / "runs",
    )
    assert len(BAD) >= 25
    found = {Path(entry["file"]).stem.removeprefix("bad "): entry["reason"] for entry in run.info["data"]["quarantine"]}
    assert found.keys() == BAD.keys()
    for kind, (_, reason) in BAD.items():
        assert re.search(reason, found[kind]), kind
    assert run.info["status"] == "finished"
    assert sum(split["size"] for split in run.info["data"]["splits"].values()) == 60
