"""A signal at any moment: a documented code, one sentence, and nobody left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cutaway.cli.process import _Stop, _stoppable
from cutaway.data.parallel import each
from cutaway.signals import SIGNALS, Stopped, handling
from processes import alive, ended, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
MOMENTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 1.7, 2.4, 3.2)
STOPPED = "cutaway: stopped\n"


SLOW = """
import time
import cutaway.cli.app as app

def run(words):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)

app.run = run
from cutaway.cli import main
main()
"""


def strike(moment: float, number: int, everybody: bool, *words: object) -> tuple[int, str, list[int]]:
    process = start(*words)
    time.sleep(moment)
    (os.killpg if everybody else os.kill)(process.pid, number)
    return ended(process)


def is_clean(code: int, err: str, number: int) -> bool:
    """Answered in one line; or so early that the system or Python itself ended it, before any line of ours."""
    if code == 128 + number:
        return err.endswith(STOPPED) and "Traceback" not in err
    return code in (-number, 1) and "cutaway/cli/process.py" not in err


@pytest.mark.parametrize(
    ("number", "everybody"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)]
)
def test_from_the_first_instant(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, everybody: bool
) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))  # so that data workers are at it

    def one(moment: float) -> tuple[int, str, list[int]]:
        return strike(moment, number, everybody, "audit", stage / "colours", "--out", tmp_path / f"{moment}.html")

    with ThreadPoolExecutor(3) as pool:
        results = dict(zip(MOMENTS, pool.map(one, MOMENTS), strict=True))
    bad = {moment: found for moment, found in results.items() if found[2] or not is_clean(*found[:2], number)}
    done = {moment: found for moment, found in bad.items() if found[:1] == (0,) and not found[2]}  # it was quicker
    assert bad.keys() - done.keys() == set(), bad
    assert any(code == 128 + number for code, _, _ in results.values())


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    process.communicate()


def test_nohup_is_heeded() -> None:
    with handling(lambda number, frame: None):
        assert all(signal.getsignal(number) != signal.SIG_IGN for number in SIGNALS)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _stoppable(whole=False):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_a_destructor_swallows_is_raised_again() -> None:
    class Odd:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work() -> None:
        Odd()
        time.sleep(5)

    with pytest.raises(Stopped), _stoppable(whole=False):
        work()


def test_what_a_library_makes_of_a_signal_is_the_signals_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    from cutaway.cli import main

    def run(words: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import") from None
        return 0

    monkeypatch.setattr("cutaway.cli.app.run", run)
    with pytest.raises(SystemExit) as done:
        main(["runs"])
    assert done.value.code == 143
    assert not _Stop(whole=False).number


WORKERS = """
import os, time
from cutaway.data.parallel import each
def work(item):
    print(os.getpid(), flush=True)
    time.sleep(60)
    return item
for one in each(work, range(20)):
    pass
"""


def test_data_workers_do_not_outlive_a_killed_parent() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKERS], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    for number in SIGNALS:
        os.kill(worker, number)  # as a terminal or a service manager does to all of a group; the parent decides
    time.sleep(0.2)
    assert worker in alive(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(process.pid) == []
    process.stdout.close()


def _odd(item: int) -> int:
    if item == 7:
        os._exit(3)
    if item == 5:
        raise KeyError("five")
    return item * item


def test_a_data_worker_that_ends_or_fails_is_told() -> None:
    assert list(each(_square, range(50))) == [item * item for item in range(50)]
    with pytest.raises(RuntimeError, match="KeyError: 'five'"):
        list(each(_odd, range(6)))
    with pytest.raises(Exception, match=r"a process was ended from outside \(exit code 3\)"):
        list(each(_odd, [0, 1, 2, 3, 7, 8]))


def _square(item: int) -> int:
    time.sleep(0.001 * (item % 3))
    return item * item


def test_an_abandoned_iteration_leaves_no_process() -> None:
    import multiprocessing

    stream = each(_square, range(100))
    assert next(stream) == 0
    assert multiprocessing.active_children()
    del stream
    assert not multiprocessing.active_children()


def test_the_page_says_all_codes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| (\d+) \|", page, re.M)) >= {"0", "1", "2", "3", "129", "130", "141", "143"}
