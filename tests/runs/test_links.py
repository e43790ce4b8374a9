"""Nothing in a run folder leads out of it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.files import alone
from cutaway.runs import RunFolder, open_run
from cutaway.runs.links import check_links
from whole_records import whole_info


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs" / "gift")
    run.create(whole_info())
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "file").write_text("mine\n")
    return run


@pytest.mark.parametrize("place", ["checkpoints", "snapshots", "atlas", "microscope", "a/b/c/deep"])
def test_a_folder_that_leads_out(folder: RunFolder, tmp_path: Path, place: str) -> None:
    (folder.path / place).parent.mkdir(parents=True, exist_ok=True)
    (folder.path / place).symlink_to(tmp_path / "private", target_is_directory=True)
    with pytest.raises(InputError, match=rf"{place} is a link that leads out of .*gift, to .*private; remove it"):
        open_run(folder.path)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "vitals.jsonl", "evaluation-test.json", ".lock", "x"])
def test_a_file_that_leads_out(folder: RunFolder, tmp_path: Path, name: str) -> None:
    (folder.path / name).unlink(missing_ok=True)
    target = tmp_path / "private" / "file"
    if name == "run.json":
        target = tmp_path / "private" / "run.json"
        RunFolder(tmp_path / "other").create(whole_info())
        (tmp_path / "other" / "run.json").rename(target)
    before = target.read_bytes()
    (folder.path / name).symlink_to(target)
    with pytest.raises(InputError, match=rf"{name} is a link"):
        open_run(folder.path)
    assert target.read_bytes() == before


def test_a_lock_that_is_a_link_is_not_opened(folder: RunFolder, tmp_path: Path) -> None:
    target = tmp_path / "private" / "file"
    (folder.path / ".lock").symlink_to(target)
    with pytest.raises(InputError, match="is a link"), alone(folder.path, "busy"):
        pass
    assert target.read_text() == "mine\n"


def test_links_inside_and_to_the_whole_run_are_fine(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "again").symlink_to("run.json")
    (folder.path / "loop").symlink_to(folder.path, target_is_directory=True)
    (tmp_path / "elsewhere").symlink_to(folder.path, target_is_directory=True)
    assert open_run(folder.path).info["status"] == "training"
    assert open_run(tmp_path / "elsewhere").info["status"] == "training"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_neither_file_nor_folder(folder: RunFolder, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "pipe":
        os.mkfifo(folder.metrics)
    else:
        monkeypatch.chdir(folder.path)  # a socket's path may not be long
        socket.socket(socket.AF_UNIX).bind("metrics.jsonl")
    with pytest.raises(InputError, match=r"metrics\.jsonl is neither a file nor a folder; remove it"):
        open_run(folder.path)


def test_a_link_that_comes_later_is_seen(folder: RunFolder, tmp_path: Path) -> None:
    open_run(folder.path)
    (folder.path / "checkpoints").symlink_to(tmp_path / "private", target_is_directory=True)
    with pytest.raises(InputError, match="checkpoints is a link"):
        open_run(folder.path)


def test_a_link_that_comes_later_and_deeper_is_seen(folder: RunFolder, tmp_path: Path) -> None:
    folder.snapshot(1).mkdir(parents=True)
    open_run(folder.path)
    (folder.snapshot(1) / "maps.png").symlink_to(tmp_path / "private" / "file")
    with pytest.raises(InputError, match=r"maps\.png is a link"):
        open_run(folder.path)


def test_two_hundred_runs_are_looked_over_in_a_moment(folder: RunFolder) -> None:
    """Lists look at the first level alone: what a list reads lies there."""
    for epoch in range(1, 201):
        folder.snapshot(epoch).mkdir(parents=True)
        for name in ("maps.png", "kernels.png", "gradients.png", "arrays.safetensors"):
            (folder.snapshot(epoch) / name).write_bytes(b"")
    start = time.process_time()
    for _ in range(200):
        check_links(folder.path, deep=False)
    shallow, start = time.process_time() - start, time.process_time()
    check_links(folder.path)
    assert shallow < 0.2
    assert time.process_time() - start < 0.2
