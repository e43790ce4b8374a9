"""Processes that share jobs: each is done once, what goes wrong is told, and none is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.scope.crew import Meter, Tick, crew


class Touch:
    """Leaves a file for each job, and goes wrong at one of them."""

    def __init__(self, folder: Path, wrong: int = -1, problem: BaseException | None = None, pause: float = 0.0) -> None:
        self.folder, self.wrong, self.problem, self.pause = folder, wrong, problem, pause

    def __call__(self, jobs: Iterable[int], tick: Tick) -> None:
        for job in jobs:
            time.sleep(self.pause)
            if job == self.wrong and self.problem is not None:
                raise self.problem
            with (self.folder / str(job)).open("x") as file:
                file.write(str(os.getpid()))
            tick(job)


def test_every_job_is_done_once(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    meter = Meter("counting", 60, 45, lambda *step: heard.append(step))
    crew(3, range(10), Touch(tmp_path, pause=0.2), meter.tick)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(10))
    assert heard[-1] == ("counting", 60, 60)
    assert len({path.read_text() for path in tmp_path.iterdir()}) > 1
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("problem", "kind", "sentence"),
    [
        (InputError("the image is torn"), InputError, "the image is torn"),
        (MemoryError("out of memory"), MemoryError, "out of memory"),
        (ValueError("odd"), RuntimeError, "ValueError: odd"),
        (SystemExit(3), InputError, "ended from outside"),
    ],
)
def test_what_goes_wrong_is_told(
    tmp_path: Path, problem: BaseException, kind: type[BaseException], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        crew(2, range(6), Touch(tmp_path, 2, problem), lambda _: None)
    assert not multiprocessing.active_children()


def test_processes_end_at_once_whatever_their_parent_does_when_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ended)
    try:
        with pytest.raises(KeyboardInterrupt):
            crew(2, range(100), Touch(tmp_path, pause=0.05), stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err == ""
