"""Who watches a training hears of every step, and of the last one as the last."""

from __future__ import annotations

from pathlib import Path

from cutaway.training import train
from cutaway.web.tasks import _telling


def test_a_trainings_progress_ends_at_its_end(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    recipe = {"epochs": 3, "batch_size": 16, "precision": "fp32"}
    watch = _telling(lambda *step: heard.append(step))
    train(image_folder, tiny_spec, recipe=recipe, runs=tmp_path, name="run", watch=watch)
    steps = [(done, total) for label, done, total in heard if label == "train"]
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]
    assert len(steps) % 3 == 0
