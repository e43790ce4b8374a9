"""The server ends by any signal, with the documented code, and takes its workers with it; trainings go on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import Server, start_server

from cutaway.web.jobs import Jobs
from processes import alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
def own_server(home: Path, tmp_path: Path) -> Iterator[Server]:
    """A server over a folder of its own, whose run is a link to nothing: a copy."""
    import shutil

    shutil.copytree(home / "runs" / "one", tmp_path / "runs" / "one")
    found = start_server(home, tmp_path / "runs")
    yield found
    if found.process.poll() is None:
        found.process.kill()
    found.process.wait()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def working(server: Server, kind: str) -> tuple[Path, int]:
    """The folder of the job of that kind, and the process that is at it."""
    found: list[tuple[Path, int]] = []

    def look() -> bool:
        for path in (server.folder / ".microscope" / "jobs").glob("*/job.json"):
            if json.loads(path.read_text())["kind"] == kind:
                pid = json.loads((path.parent / "progress.json").read_text())["pid"]
                found.append((path.parent, pid))
        return bool(found and found[-1][1])

    until(look)
    return found[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_server_and_its_worker(own_server: Server, number: int, code: int) -> None:
    assert own_server.ask("/runs/one/e1/images/test:3?method=all", "POST", b"").status == 303
    folder, worker = working(own_server, "explain")
    own_server.process.send_signal(number)
    assert own_server.process.wait(30) == code
    assert alive(worker) == []
    assert json.loads((folder / "progress.json").read_text())["state"] == "waiting"


def test_a_second_signal_ends_server_and_worker_at_once(own_server: Server) -> None:
    assert own_server.ask("/runs/one/e1/images/test:3?method=all", "POST", b"").status == 303
    _, worker = working(own_server, "explain")
    os.kill(worker, signal.SIGSTOP)  # it answers no signal, as in a long computation
    own_server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    own_server.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    assert own_server.process.wait(30) == 143
    assert time.monotonic() - start < 3
    until(lambda: not alive(worker))


def test_a_training_goes_on_when_the_server_ends(own_server: Server, home: Path) -> None:
    from urllib.parse import urlencode

    form = urlencode({"data": str(home / "photos"), "model": "tiny.py:make", "epochs": "300", "name": "mine"})
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert own_server.ask("/train", "POST", form.encode(), kind).status == 303
    _, worker = working(own_server, "train")
    until(lambda: (own_server.folder / "mine" / "metrics.jsonl").is_file())
    own_server.process.send_signal(signal.SIGTERM)
    assert own_server.process.wait(30) == 143
    assert alive(worker) == [worker]
    os.kill(worker, signal.SIGTERM)
    until(lambda: not alive(worker))
    assert json.loads((own_server.folder / "mine" / "run.json").read_text())["status"] == "interrupted"


def test_nothing_is_started_once_the_server_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "_start", lambda self, job: pytest.fail("it stops"))
    jobs = Jobs(tmp_path / "jobs", tmp_path)
    jobs.stop()
    assert jobs.want("predict", {"run": "one", "epoch": 1, "split": "test"}).progress.state == "waiting"
