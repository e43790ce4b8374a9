"""Ways out of what went wrong with a run, a disk, a process or a server."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ways import Place, commands, says

from cutaway.runs import open_run
from cutaway.training.precision import Plan


@says("there are no runs in", "there is no run folder", "is not a run folder: it has no run.json")
def no_runs(at: Place) -> None:
    line = at.refused("runs")
    at.patch.setattr("cutaway.training.session._plan", lambda *_: Plan("cpu"))  # to measure how takes its time
    assert at.stopped(*commands(line)[0]).code == 130
    assert "shapes-resnet18-1" in at.works("runs").out
    Path("runs/empty").mkdir()
    for missing in ("runs/nothing", "runs/empty"):
        [way] = commands(at.refused("evaluate", missing))
        assert "shapes-resnet18-1" in at.works(*way).out


@says(
    "exists already; choose another --run, or",
    "exists already and is no run",
    "exists already; choose another --run or resume",
)
def a_name_that_is_taken(at: Place) -> None:
    assert at.stopped(*at.train("--run", "one")).code == 130
    line = at.refused(*at.train("--run", "one"))
    at.works(*at.train("--run", "another"))
    at.works(*commands(line)[0])
    assert open_run("runs/one").status == "finished"
    Path("runs/photos/cat").mkdir(parents=True)
    assert "choose another --run" in at.refused(*at.train("--run", "photos"))


@says("has no saved state to continue")
def a_run_without_a_state(at: Place) -> None:
    path = at.copy()
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name != "run.json":
            file.unlink()
    _say_training(path)
    words = at.refused("resume", path).rpartition("with ")[2].split()
    assert words[::2] == ["--runs", "--run"]
    at.works(*at.train(*words))
    assert open_run(path).status == "finished"


def _say_training(path: Path) -> None:
    from cutaway.runs import RunFolder
    from cutaway.runs.sealed import read_sealed_json, write_sealed_json

    info, _ = read_sealed_json(RunFolder(path).run_json)
    write_sealed_json(RunFolder(path).run_json, {**info, "status": "training", "logs": {}})


@says("has no saved epoch yet")
def no_epoch_yet(at: Place) -> None:
    assert at.stopped(*at.train("--run", "one")).code == 130
    [way] = commands(at.refused("evaluate", "runs/one"))
    at.works(*way)
    at.works("evaluate", "runs/one")


@says("then `cutaway resume {}` goes on")
def a_full_disk_while_training(at: Place) -> None:
    line = _full_from(at, "write_weights", at.train("--run", "one"))
    assert open_run("runs/one").status == "interrupted"
    at.works(*commands(line)[0])
    assert open_run("runs/one").status == "finished"


def _full_from(at: Place, name: str, words: tuple[object, ...]) -> str:
    def full(*_: object, **__: object) -> None:
        from cutaway.files import explain_disk_errors

        with explain_disk_errors(Path("there")):
            raise OSError(errno.ENOSPC, "full")

    with at.patch.context() as patch:
        patch.setattr(f"cutaway.training.fit.{name}", full)
        return at.refused(*words)


@says("{}; {}")
def a_full_disk_before_there_is_a_run(at: Place) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    for words in (at.train("--run", "one"), at.train(), ("kernels", at.run, "--layer", "0")):
        with at.patch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert "the disk is full; free some space and run the same command again" in at.refused(*words)
        at.works(*words)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["colours-tiny-1", "one"]


@says("CUTAWAY_CACHE to another folder", "does not keep what is written")
def a_cache_that_cannot_be_written(at: Place) -> None:
    Path("cache").mkdir()
    at.patch.setenv("CUTAWAY_CACHE", str(Path("cache").resolve()))

    def forbidden(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, "no")

    with at.patch.context() as patch:
        patch.setattr("tempfile.mkstemp", forbidden)
        assert "set CUTAWAY_CACHE to another folder" in at.refused(*at.train())
    at.patch.setenv("CUTAWAY_CACHE", str(at.stage / "cache"))
    at.works(*at.train())


@says("CUTAWAY_CACHE_LIMIT_GB")
def a_limit_that_is_no_number(at: Place) -> None:
    at.patch.setenv("CUTAWAY_CACHE", "cache")
    at.patch.setenv("CUTAWAY_CACHE_LIMIT_GB", "much")
    assert "CUTAWAY_CACHE_LIMIT_GB" in at.refused("audit", at.stage / "colours")
    at.patch.setenv("CUTAWAY_CACHE_LIMIT_GB", "1")
    at.works("audit", at.stage / "colours")


@says("has lost its end", "is damaged in line")
def a_log_that_lost_something(at: Place) -> None:
    path = at.copy()
    whole = (path / "metrics.jsonl").read_bytes()
    for broken in (whole[:-40], whole.replace(b'"epoch": 1', b'"epoch": 7', 1)):
        (path / "metrics.jsonl").write_bytes(broken)
        line = at.refused("curves", path)
        at.works("curves", at.run)
        at.works("maps", f"{path}@1", "test:0", "--layer", "0", "--out", "maps")  # RUN@EPOCH needs no log
        at.works(*commands(line)[0])
        at.works("curves", path)
        shutil.rmtree(path)
        path = at.copy()


@says("is no atlas")
def no_atlas(at: Place) -> None:
    from cutaway.errors import InputError
    from cutaway.runs.atlas import open_atlas

    with pytest.raises(InputError, match="`cutaway atlas MODEL DATA` makes one"):
        open_atlas(Path("there"))
    told = at.works("atlas", at.run, at.stage / "colours", "--layer", "0", "--no-images", "--json")
    open_atlas(json.loads(told.out)["folder"])
    shutil.rmtree(at.run / "atlas")


@says("choose another with --port")
def a_port_that_is_taken(at: Place) -> None:
    from cutaway.web.serve import listening

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert "or --port 0 for any" in at.refused("serve", at.run.parent, "--port", number)
        with listening(0) as free:
            assert free.getsockname()[1] != number


@says("is the record of a loop that is not Cutaway's, so nothing can be tried")
def a_watched_loop(at: Place) -> None:
    import torch

    from cutaway.doctor import watch

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with watch(network, optimizer, "runs/mine", 2) as stethoscope:
        for _ in range(3):
            optimizer.zero_grad()
            labels = torch.tensor([0, 1])
            loss = torch.nn.functional.cross_entropy(network(torch.rand(2, 3, 2, 2)), labels)
            loss.backward()
            optimizer.step()
            stethoscope.step(loss, labels)
        stethoscope.epoch()
    at.works("doctor", "runs/mine")
    assert "train the same network with `cutaway train`" in at.refused("doctor", "runs/mine", "--try")
    assert "run that loop again" in at.refused("resume", "runs/mine")
    at.works(*at.train())


@says("there is no such file here", "which is code that this machine has not trained with")
def code_of_a_stranger(at: Place) -> None:
    at.patch.setenv("CUTAWAY_HOME", str(Path("home").resolve()))
    line = at.refused("predict", at.run, "test:0")
    assert "say --trust to run it, or --model FILE.py:FACTORY" in line
    at.works("predict", at.run, "test:0", "--trust")
    at.works("predict", at.run, "test:0", "--model", at.tiny)


@says("is being written by another process; run the same command again")
def a_memory_that_is_written(at: Place) -> None:
    from cutaway.files import alone

    at.patch.setenv("CUTAWAY_CACHE", str(Path("cache").resolve()))
    at.patch.setattr("cutaway.training.precision._PATIENCE", 0.0)
    words = ("train", at.stage / "colours", "-m", at.tiny, "--epochs", 1)
    Path("cache").mkdir()
    with alone(Path("cache"), "busy"):
        assert "run the same command again" in at.refused(*words)
    at.works(*words)


@says("most often because memory ran out")
def a_worker_that_was_ended(at: Place) -> None:
    at.patch.setenv("CUTAWAY_CACHE", str(Path("cache").resolve()))
    words = ("audit", at.stage / "colours")
    with at.patch.context() as patch:
        patch.setattr("cutaway.data.parallel._FEW", 1)  # so few files would not need processes
        patch.setattr("cutaway.data.cache._file_digest", lambda file: os._exit(9))
        assert "run the same command again" in at.refused(*words)
    at.works(*words)
    words = ("exemplars", at.run, at.stage / "colours", "--layer", "0", "--out", "there")
    with at.patch.context() as patch:
        patch.setattr("cutaway.scope.exemplar_chunks.Manifest.of", _many_chunks)
        patch.setattr("cutaway.scope.exemplar_workers._Chunks.scan", lambda *_, **__: os._exit(9))
        assert "run the same command again, with fewer processes" in at.refused(*words, "--processes", 2)
    at.works(*words, "--processes", 1)


def _many_chunks(size: int) -> Any:
    from cutaway.scope.exemplar_chunks import Manifest

    return Manifest(np.arange(16), np.arange(16, size), 16)


@says("interrupted, nothing is lost; next: {command}")
def an_interruption(at: Place) -> None:
    told = at.stopped(*at.train())
    assert told.code == 130
    way = told.err.splitlines()[-1].rpartition("next: cutaway ")[2]
    at.works(*way.split())


@says("makes the network of a run with code of its own, which none of these is")
def a_factory_that_nobody_needs(at: Place) -> None:
    words = ("compare", at.tiny, f"{at.stage}/tiny.py:wide", "--data", at.stage / "colours", "--out", "out")
    assert "which none of these is" in at.refused(*words, "--model", at.tiny)
    at.refused(*words)  # it is none that says how its input is standardised, which has nothing to do with it
    words = ("compare", f"{at.run}@1", at.run, "--data", at.stage / "colours", "--out", "out")
    at.works(*words, "--model", at.tiny)
