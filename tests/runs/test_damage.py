"""A sample of `benchmarks/damage.py`: one sentence for every damage, and the harness sees what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from damage import Answer, fuzz, judged

PAIRS = 120


def test_a_sample_of_damages_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUTAWAY_HOME", str(tmp_path / "home"))
    counts, worst = fuzz(tmp_path, PAIRS, 1, lambda text: None)
    assert worst == []
    assert counts.total() == PAIRS
    assert counts["equal"]
    assert counts["told"]


@pytest.mark.parametrize(
    ("kind", "now", "outcome"),
    [
        ("flipped", Answer(0, "accuracy 0.5"), "equal"),
        ("flipped", Answer(0, "accuracy 0.6"), "silent"),
        ("deleted", Answer(0, ""), "without"),
        ("flipped", Answer(0, "", "evaluation-test.json is damaged"), "told"),
        ("flipped", Answer(2, "", "cutaway: no"), "told"),
        ("flipped", Answer(500, ""), "traceback"),
        ("flipped", Answer(1, "", "Traceback (most recent call last)"), "traceback"),
        ("flipped", Answer(-11, ""), "traceback"),
    ],
)
def test_what_counts_as_what(kind: str, now: Answer, outcome: str) -> None:
    assert judged(kind, Answer(0, "accuracy 0.5"), now) == outcome
