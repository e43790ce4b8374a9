"""Work that is found in somebody's folder does not start, and what files say of processes is not believed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cutaway.errors import InputError
from cutaway.files import read_json, user_folder, write_json
from cutaway.web.app import create_app
from cutaway.web.jobs import Jobs, job_id
from cutaway.web.signing import signature
from cutaway.web.site import Site
from cutaway.web.worker import main

ABOUT = {"run": "one", "epoch": 1, "split": "test"}
WAITING = {"state": "waiting", "label": "", "done": 0, "total": 0, "error": "", "pid": 0, "result": ""}


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    found = Jobs(tmp_path / ".microscope" / "jobs", tmp_path)
    yield found
    found.stop()


def put(jobs: Jobs, kind: str = "predict", about: Any = ABOUT, progress: Any = WAITING, **more: Any) -> str:
    """A job as a folder from elsewhere holds it."""
    name = job_id(kind, about) if isinstance(about, dict) else "0" * 16
    write_json(jobs.folder / name / "job.json", {"kind": kind, "about": about, "queued": 1.0} | more)
    write_json(jobs.folder / name / "progress.json", progress)
    return name


@pytest.mark.parametrize("forged", ["", "0" * 64, "é"])
def test_a_strangers_job_is_listed_and_not_started(jobs: Jobs, forged: str) -> None:
    name = put(jobs, **({"signature": forged} if forged else {}))
    jobs.pump()
    assert [(job.id, job.progress.state, job.open) for job in jobs.all()] == [(name, "foreign", False)]
    assert read_json(jobs.folder / name / "progress.json") == WAITING
    assert not (jobs.folder / name / "log.txt").exists()


def test_a_signature_is_of_one_job_in_one_folder(jobs: Jobs, tmp_path: Path) -> None:
    name = job_id("predict", ABOUT)
    signed = signature(jobs.folder, name, "predict", ABOUT)
    put(jobs, signature=signed)
    assert [job.progress.state for job in jobs.all()] == ["waiting"]
    other = {**ABOUT, "epoch": 2}
    put(jobs, about=other, signature=signed)
    moved = Jobs(tmp_path / "elsewhere", tmp_path)
    put(moved, signature=signed)
    assert jobs.find(job_id("predict", other)).progress.state == "foreign"  # type: ignore[union-attr]  # it is there
    assert moved.all()[0].progress.state == "foreign"


def test_asking_for_the_same_makes_it_ones_own(jobs: Jobs) -> None:
    put(jobs)
    job = jobs.want("predict", ABOUT)
    assert job.progress.state in ("waiting", "running")
    assert len(read_json(jobs.folder / job.id / "job.json")["signature"]) == 64


def test_a_worker_does_no_work_that_this_machine_was_not_asked_for(jobs: Jobs, tmp_path: Path) -> None:
    folder = jobs.folder / put(jobs, "train", {"data": "shapes", "model": "resnet18", "name": "x", "recipe": {}})
    assert main(folder, tmp_path) == 1
    assert "no work that this machine was asked for" in read_json(folder / "progress.json")["error"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("signed", [True, False])
def test_a_process_that_a_file_names_is_not_ended(jobs: Jobs, signed: bool) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        name = job_id("predict", ABOUT)
        more = {"signature": signature(jobs.folder, name, "predict", ABOUT)} if signed else {}
        put(jobs, progress={**WAITING, "state": "running", "pid": victim.pid}, **more)
        jobs.cancel(name)
        jobs.stop()
        time.sleep(0.2)
        assert victim.poll() is None
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()


@pytest.mark.parametrize(
    ("kind", "about"), [("__class__", ABOUT), ("predict", []), ([], {}), ("predict", {"run": "x" * 2**20})]
)
def test_what_is_no_job_is_as_if_it_were_not_there(jobs: Jobs, kind: Any, about: Any) -> None:
    put(jobs, kind, about)
    jobs.pump()
    assert jobs.all() == []


@pytest.mark.parametrize(
    "progress",
    [[], {}, None, {**WAITING, "pid": -1}, {**WAITING, "state": "excellent"}, {**WAITING, "more": 1}],
)
def test_damaged_progress_of_a_job_of_ours_is_told(jobs: Jobs, progress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put(jobs, progress=progress, signature=signature(jobs.folder, job_id("predict", ABOUT), "predict", ABOUT))
    if progress is None:
        (jobs.folder / name / "progress.json").unlink()
    jobs.pump()
    found = jobs.find(name)
    assert found is not None
    assert found.progress.state == "failed"
    assert re.fullmatch(r".*progress\.json is damaged: .*; ask for it again", found.progress.error)
    monkeypatch.setattr(Jobs, "_start", lambda jobs, job: None)
    assert jobs.want("predict", ABOUT).progress.state == "waiting"


def test_job_folders_that_are_links_are_none(jobs: Jobs, tmp_path: Path) -> None:
    name = put(jobs)
    (jobs.folder / name).rename(tmp_path / "elsewhere")
    (jobs.folder / name).symlink_to(tmp_path / "elsewhere")
    (jobs.folder / ("1" * 16)).symlink_to(tmp_path)
    assert jobs.all() == []
    with pytest.raises(InputError, match="is a link, which no job of ours is; remove it"):
        jobs.want("predict", ABOUT)
    assert read_json(tmp_path / "elsewhere" / "progress.json") == WAITING


@pytest.mark.parametrize(("language", "says"), [("en", "from elsewhere: not started"), ("zh", "来自别处：未启动")])
def test_the_page_of_trainings_shows_a_strangers_last(tmp_path: Path, language: str, says: str) -> None:
    app = create_app(Site(tmp_path), 80)
    jobs = app.state.jobs
    for name in (7, [], "../x", "a" * 5000, "\x1b", "ok"):
        put(jobs, "train", {"name": name, "recipe": name}, queued=1e300)
    mine = {"data": "photos", "model": "resnet18", "name": "mine", "recipe": {}}
    signed = signature(jobs.folder, job_id("train", mine), "train", mine)
    put(jobs, "train", mine, {**WAITING, "state": "done"}, signature=signed)
    page = TestClient(app, base_url="http://127.0.0.1:80").get(
        f"/train?lang={language}", headers={"host": "127.0.0.1:80"}
    )
    assert page.status_code == 200
    titles = re.findall("<h3>(.*?)</h3>", page.text)
    assert titles[0].startswith("mine")
    assert sum(says in title for title in titles) == 6


def test_a_worker_of_an_earlier_server_is_known_by_what_the_system_says_of_it(jobs: Jobs) -> None:
    if not Path("/proc/self/cmdline").is_file():
        pytest.skip("this system does not say what a process is")
    name = put(jobs, signature=signature(jobs.folder, job_id("predict", ABOUT), "predict", ABOUT))
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    folders = (jobs.folder / name, jobs.folder / ("0" * 16))
    ours, other = (
        subprocess.Popen([*words, "cutaway.web.worker", str(folder)], start_new_session=True) for folder in folders
    )
    try:
        for worker, ended in ((other, False), (ours, True)):
            write_json(jobs.folder / name / "progress.json", {**WAITING, "state": "running", "pid": worker.pid})
            jobs.cancel(name)
            time.sleep(0.2)
            assert (worker.wait(10) < 0) if ended else (worker.poll() is None)
    finally:
        for worker in (ours, other):
            worker.kill()
            worker.wait()


@pytest.mark.parametrize("name", ["..", "0" * 15, "0" * 17, "G" * 16, "", "²" * 16, "\0" * 16])
def test_a_name_that_is_none(jobs: Jobs, name: str) -> None:
    assert jobs.find(name) is None


def test_the_key_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_HOME", str(tmp_path / "home"))
    first = signature(tmp_path, "a", "train", {})
    assert (user_folder() / "jobs.key").stat().st_mode & 0o777 == 0o600
    assert signature(tmp_path, "a", "train", {}) == first
    assert len({first, signature(tmp_path, "b", "train", {}), signature(tmp_path, "a", "train", {"x": 1})}) == 3
    (user_folder() / "jobs.key").write_bytes(b"short")
    with pytest.raises(InputError, match=r"jobs\.key, this machine's key for jobs, is damaged; remove it"):
        signature(tmp_path, "a", "train", {})


@pytest.mark.parametrize("place", [".microscope", ".microscope/jobs", ".microscope/uploads"])
def test_a_microscope_that_leads_out_is_not_served(tmp_path: Path, place: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "private").mkdir()
    path = tmp_path / "runs" / place
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "private", target_is_directory=True)
    with pytest.raises(InputError, match="is a link"):
        create_app(Site(tmp_path / "runs"), 80)
