"""Of two who want the same run folder one has it, and whoever dies gives it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.files import alone, is_held, write_text
from cutaway.runs import RunFolder, claim_run_path, new_run, only_trainer, open_run
from cutaway.words import words
from whole_records import whole_info

# Two processes: the parent holds the lock, and a forked child, as a data worker is, lives on.
HOLDER = """
import os, sys, time
from pathlib import Path
from cutaway.files import alone
with alone(Path(sys.argv[1]), "busy"):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def early(path: Path) -> RunFolder:
    """What a training that was killed before its first state leaves."""
    folder = RunFolder(path)
    folder.create(whole_info())
    write_text(folder.findings, "{}")
    folder.checkpoints.mkdir()
    (folder.checkpoints / ".state.safetensors.abc.tmp").write_bytes(b"half")
    (folder.path / ".lock").touch()
    return folder


def test_many_who_claim_at_once_get_a_folder_each(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def claim(_: int) -> list[Path]:
        start.wait()
        return [claim_run_path(tmp_path / "runs", "shapes") for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        found = [path for paths in pool.map(claim, range(8)) for path in paths]
    assert len(set(found)) == 80
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(path.name for path in found)


def test_a_name_that_is_in_use_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    with new_run(tmp_path, "one", "") as folder:
        folder.begin(whole_info())
        with pytest.raises(InputError, match="one is being trained by another process"), new_run(tmp_path, "one", ""):
            pass
        assert folder.info()["status"] == "training"


def test_without_a_name_the_next_number_is_taken(tmp_path: Path) -> None:
    with new_run(tmp_path, None, "a") as first, new_run(tmp_path, None, "a") as second:
        assert (first.path.name, second.path.name) == ("a-1", "a-2")


def test_what_was_killed_before_its_first_state_is_taken_over(tmp_path: Path) -> None:
    early(tmp_path / "one")
    with new_run(tmp_path, "one", "") as folder:
        assert [path.name for path in folder.path.iterdir()] == [".lock"]
        folder.begin(whole_info())
    assert open_run(tmp_path / "one").status == "gone"


@pytest.mark.parametrize("file", ["metrics.jsonl", "checkpoints/state.safetensors", "cat.jpg", "index.html"])
def test_a_folder_with_anything_to_lose_is_not(tmp_path: Path, file: str) -> None:
    folder = early(tmp_path / "one")
    (folder.path / file).write_bytes(b"mine")
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(InputError, match="one exists already"), new_run(tmp_path, "one", ""):
        pass
    assert sorted(folder.path.rglob("*")) == before


def test_a_folder_that_is_no_run_gets_not_even_a_lock(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="photos exists already"), new_run(tmp_path, "photos", ""):
        pass
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat"]


@pytest.mark.parametrize("error", [InputError("the disk is full"), KeyboardInterrupt()])
def test_what_fails_before_its_first_state_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def begin() -> None:
        with new_run(tmp_path, None, "a") as folder:
            folder.begin(whole_info())
            raise error

    with pytest.raises(type(error)):
        begin()
    assert list(tmp_path.iterdir()) == []


def test_a_later_failure_keeps_all(tmp_path: Path) -> None:
    def fail() -> None:
        with new_run(tmp_path, None, "a") as folder:
            folder.begin(whole_info())
            write_text(folder.state, "a state")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a-1/checkpoints/state.safetensors").read_text() == "a state"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked workers here")
def test_a_killed_trainers_lock_is_free_at_once_though_its_workers_live(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        assert is_held(tmp_path)
        with pytest.raises(InputError, match="busy"), alone(tmp_path, "busy", patience=0):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        assert not is_held(tmp_path)
        with alone(tmp_path, "busy", patience=0):
            assert is_held(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_looking_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            is_held(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(look)
        try:
            for _ in range(200):
                with alone(tmp_path, "busy"):
                    pass
        finally:
            done.set()


def test_whoever_is_patient_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    held, order = threading.Event(), list[str]()

    def first() -> None:
        with alone(tmp_path, "busy"):
            held.set()
            time.sleep(0.1)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with alone(tmp_path, "busy", patience=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_run_whose_process_is_gone_says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "one")
    folder.create(whole_info())
    run = open_run(folder.path)
    with only_trainer(folder):
        assert run.status == "training"
    assert run.status == "gone"
    assert words("en")("status.gone") == "interrupted (its process is gone)"
    folder.update(status="finished")
    assert run.status == "finished"


def test_a_lock_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), alone(tmp_path / "nowhere", "busy"):
        pass
    assert not is_held(tmp_path / "nowhere")
