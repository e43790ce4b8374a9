"""Two of anything at once on one run lose nothing."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cutaway.data import load_data
from cutaway.doctor import diagnose, watch
from cutaway.errors import InputError
from cutaway.files import cache_folder
from cutaway.report import write_page
from cutaway.runs import Run, list_runs, open_run
from cutaway.scope import Scope
from cutaway.scope.atlas import make_atlas
from cutaway.training import Watcher, evaluate, resume, train
from cutaway.training import state as states
from cutaway.training.precision import Plan, remembered_plan
from cutaway.views.runs import list_lines

RECIPE = {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "precision": "fp32", "save_every": 0.001}


class Pausing(Watcher):
    """Holds a training at one of its steps until it may go on."""

    def __init__(self, step: int) -> None:
        self.left, self.there, self.go = step, threading.Event(), threading.Event()

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1
        if self.left == 0:
            self.there.set()
            assert self.go.wait(60)


@contextmanager
def held(work: Callable[[Watcher], Run], step: int) -> Iterator[list[Run]]:
    """While inside, `work` stands still at a step; afterwards the list has what it returned."""
    watcher, found = Pausing(step), list[Run]()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(work, watcher)
        while not watcher.there.wait(0.05):
            assert not going.done(), going.exception()
        try:
            yield found
        finally:
            watcher.go.set()
        found.append(going.result(60))


def content(run: Run) -> dict[str, Any]:
    """What two equal trainings agree in."""
    lines = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in run.metrics()]
    tensors = {epoch: load_file(run.weights(epoch)) for epoch in run.epochs}
    weights = {(epoch, name): value.tolist() for epoch, all_ in tensors.items() for name, value in all_.items()}
    return {"lines": lines, "vitals": run.vitals(), "weights": weights, "status": run.status}


@pytest.fixture(scope="module")
def whole(image_folder: Path, tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(image_folder, tiny_spec, recipe=RECIPE, runs=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture
def training(image_folder: Path, tiny_spec: str, tmp_path: Path) -> Callable[[Watcher], Run]:
    return lambda watcher: train(
        image_folder, tiny_spec, recipe=RECIPE, runs=tmp_path, name="run", device="cpu", watch=watcher
    )


@pytest.mark.parametrize("step", [1, 4, 9])
def test_resume_of_a_run_that_is_being_trained_touches_nothing(
    whole: Run, training: Callable[[Watcher], Run], tmp_path: Path, step: int
) -> None:
    with held(training, step) as found:
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
        for _ in range(2):
            with pytest.raises(InputError, match="run is being trained by another process; wait for it or stop it"):
                resume(tmp_path / "run")
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
        assert open_run(tmp_path / "run").status == "training"
    assert content(found[0]) == content(whole)


def test_one_of_two_who_resume_goes_on(whole: Run, training: Callable[[Watcher], Run], tmp_path: Path) -> None:
    class Enough(Watcher):
        def enough(self) -> bool:
            return True

    with pytest.raises(Exception, match="run"):
        training(Enough())
    with held(lambda watcher: resume(tmp_path / "run", watch=watcher), 3) as found:
        with pytest.raises(InputError, match="is being trained by another process"):
            resume(tmp_path / "run")
        with pytest.raises(InputError, match="exists already"):
            training(Watcher())
    assert content(found[0]) == content(whole)


def test_whoever_reads_a_run_while_it_is_trained_disturbs_nothing(
    whole: Run, training: Callable[[Watcher], Run], tmp_path: Path, image_folder: Path
) -> None:
    path = tmp_path / "run"
    with held(training, 9) as found:  # in the second epoch
        assert evaluate(path)["epoch"] == 1
        assert isinstance(diagnose(path), list)
        assert write_page(path).is_file()
        assert [line.status for line in list_lines(list_runs(tmp_path))] == ["training"]
        make_atlas(Scope(f"{path}@1"), image_folder, ["0"], images=False)
    assert content(found[0]) == content(whole)
    assert found[0].evaluation() is not None


def test_two_trainings_without_a_name_get_a_folder_each(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    def work(watcher: Watcher) -> Run:
        return train(image_folder, tiny_spec, recipe=RECIPE, runs=tmp_path, device="cpu", watch=watcher)

    with held(work, 1) as found:
        second = work(Watcher())
    assert [second.name, found[0].name] == ["colours-tiny-2", "colours-tiny-1"]


def test_a_full_disk_before_the_first_state_leaves_the_name_free(
    training: Callable[[Watcher], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(states.os, "fsync", full)
        with pytest.raises(InputError, match=r"the disk is full; free some space and run the same command again"):
            training(Watcher())
    assert not (tmp_path / "run").exists()
    assert training(Watcher()).status == "finished"


def test_a_run_killed_before_its_first_state_says_how_to_begin_it_again(
    whole: Run, training: Callable[[Watcher], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("cutaway.training.session.save_state", killed)
        patch.setattr("cutaway.runs.claims._remove_unborn", lambda folder: None)
        with pytest.raises(Killed):
            training(Watcher())
    assert open_run(tmp_path / "run").status == "gone"
    with pytest.raises(
        InputError, match=rf"begin it again: its `cutaway train` command with --runs {tmp_path} --run run"
    ):
        resume(tmp_path / "run")
    assert content(training(Watcher())) == content(whole)


def test_an_atlas_that_is_being_made_is_not_made_twice(whole: Run, image_folder: Path, tmp_path: Path) -> None:
    there, go = threading.Event(), threading.Event()

    def progress(label: str, done: int, total: int) -> None:
        there.set()
        assert go.wait(60)

    def make(**more: Any) -> Any:
        return make_atlas(Scope(str(whole.folder.path)), data, ["0"], images=False, folder=tmp_path / "atlas", **more)

    data = load_data(image_folder)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(make, progress=progress)
        assert there.wait(60)
        with pytest.raises(InputError, match="atlas is being made by another process; wait for it or stop it"):
            make()
        go.set()
        first = going.result(60)
    assert sorted(first.layers) == ["0"]
    assert make().info == first.info


def test_a_scan_that_is_under_way_is_not_begun_twice(whole: Run, image_folder: Path, tmp_path: Path) -> None:
    there, go = threading.Event(), threading.Event()

    def progress(label: str, done: int, total: int) -> None:
        there.set()
        assert go.wait(60)

    def find(**more: Any) -> Any:
        return Scope(str(whole.folder.path)).exemplars(data, ["0"], folder=tmp_path / "out", processes=1, **more)

    data = load_data(image_folder)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(find, progress=progress)
        assert there.wait(60)
        with pytest.raises(InputError, match=r"scan-\w+ is being made by another process; wait for it or stop it"):
            find()
        go.set()
        first = going.result(60)
    assert (find()["0"].best.scores == first["0"].best.scores).all()


def test_a_cache_that_is_built_twice_at_once_is_whole(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))
    start = threading.Barrier(3)

    def load(_: int) -> str:
        start.wait()
        return load_data(image_folder).fingerprint

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(load, range(3)))) == 1
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_what_two_trainings_measured_at_once_is_remembered_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))

    def while_another_measures() -> Plan:
        remembered_plan("another network", lambda: Plan("cpu", reason="another"))
        remembered_plan("this network", lambda: Plan("cpu", reason="first"))
        return Plan("cpu", reason="second")

    assert remembered_plan("this network", while_another_measures).reason == "first"
    for question, reason in (("this network", "first"), ("another network", "another")):
        assert remembered_plan(question, lambda: pytest.fail("it is remembered")).reason == reason
    assert cache_folder() == tmp_path / "cache"


def test_a_loop_that_is_watched_holds_its_run(tmp_path: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watch(network, optimizer, tmp_path / "mine", 2):
        assert open_run(tmp_path / "mine").status == "training"
        with pytest.raises(InputError, match="is being trained by another process"):
            watch(network, optimizer, tmp_path / "mine", 2)
    assert open_run(tmp_path / "mine").status == "finished"
