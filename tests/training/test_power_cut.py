"""A sample of `benchmarks/power_cut.py`: what a cut leaves goes on to the same bits; and the harness sees faults."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cutaway.files import write_bytes
from disks import Disk, Event, Recorder, recording
from power_cut import Stage, cuts, judge, record

SAMPLE = 8


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage.of(tmp_path_factory.mktemp("power"))


def chosen(recorder: Recorder, count: int, *, only: str = "") -> list[Any]:
    """Some of the disks that a cut could leave."""
    found = [cut for cut in cuts(recorder, 1, 0) if only in cut[0]]
    return random.Random(1).sample(found, min(count, len(found)))


@pytest.mark.parametrize("kind", ["begun", "continued"])
def test_a_sample_of_cuts_goes_on_to_the_same_bits(stage: Stage, kind: str) -> None:
    recorder = record(stage, kind)
    found = Counter(judge(stage, image, promised) for _, promised, image in chosen(recorder, SAMPLE))
    assert found.keys() <= {"exact", "nothing promised"}, found
    assert found["exact"]


def test_lines_that_a_state_counts_on_but_nobody_flushed_are_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the flush before the state, the logs are shorter than it says: the harness must find that."""
    with monkeypatch.context() as patch:
        patch.setattr("cutaway.training.state.sync", lambda path: None)
        with recording(stage.folder / "unsafe") as recorder:
            stage.train("unsafe")
    bad = [judge(stage, image, promised) for _, promised, image in chosen(recorder, 4, only="after promise")]
    assert any(found.startswith("other") or "lost its end" in found for found in bad), bad


def images(*events: Event) -> dict[str, dict[str, bytes | None]]:
    disk = Disk()
    for event in events:
        disk.take(event)
    return {how: dict(image) for how, image in disk.images(random.Random(0))}


def test_the_model_by_hand() -> None:
    made = Event("names", names={".": -1, "a": 1})
    flushed = [Event("folder", folder=".."), Event("folder", folder=".")]
    written, synced, more = Event("write", 1, b"one"), Event("sync", 1), Event("write", 1, b"one two!")
    loose = images(written, made)
    assert loose["names none, data written"] == {}
    assert loose["names all, data synced"] == {"a": b""}
    safe = images(written, made, synced, *flushed, more)
    assert {image["a"] for image in safe.values()} == {b"one", b"one two!", b"one t", b"one\0\0\0\0\0"}
    assert images(written, made, synced, *flushed, Event("write", 1, b"o"))["names all, data torn"] == {"a": b"o"}
    renamed = Event("names", names={"a": 2, "b": None})
    before = images(written, made, synced, *flushed, Event("write", 2, b"new"), renamed)
    assert before["names none, data synced"] == {"a": b"one"}
    assert before["names all, data synced"] == {"a": b""}


def test_nothing_that_is_written_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    with recording(folder) as recorder:
        write_bytes(folder / "deep" / "file", b"content")
        with (folder / "log").open("ab") as file:
            file.write(b"line")
    kinds = [event.kind for event in recorder.events]
    assert kinds.count("sync") == 1
    assert kinds.count("folder") == 3  # the two that were made, and the one that got the file
    disk = Disk()
    for event in recorder.events:
        disk.take(event)
    found = {how: image for how, image in disk.images(random.Random(0))}
    assert found["names none, data synced"] == {"deep": None, "deep/file": b"content"}
    assert found["names all, data written"]["log"] == b"line"


def test_what_a_training_that_diverged_says_of_its_logs_is_true(stage: Stage) -> None:
    """Its last record counts on lines that no state comes after."""
    last = list(cuts(record(stage, "diverged"), 1, 0))[-SAMPLE:]
    assert {judge(stage, image, promised, diverged=True) for _, promised, image in last} == {"exact"}
