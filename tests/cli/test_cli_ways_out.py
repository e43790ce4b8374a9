"""Every way out that a message names is tried: the situation is built, the message heard, and the way taken.

The table at the end knows each sentence of the program that names a command, an option or a variable; one that is new
fails the first test until somebody has tried what it promises.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cutaway
from cutaway.runs import open_run
from cutaway.training import Interrupted
from cutaway.training.precision import Plan

SOURCE = Path(cutaway.__file__).parent
WAY = re.compile(r"cutaway [a-z]+\b|(?<![\w-])--[a-z][a-z-]+|CUTAWAY_\w+|pip install|command again|run it again")
SPEAKERS = ("InputError", "Unwritten", "alone", "complain")
QUICK = ("--epochs", 1, "--set", "precision=fp32", "--batch-size", 16)


@dataclass(frozen=True)
class Place:
    """Where a scene plays: a stage that nobody may change, and an empty folder to work in."""

    cutaway: Callable[..., Any]
    stage: Path
    run: Path
    tiny: str
    patch: pytest.MonkeyPatch

    def refused(self, *words: object, code: int = 2) -> str:
        """The last line of a command that is refused."""
        told = self.cutaway(*words)
        assert told.code == code, told
        assert "Traceback" not in told.err
        return str(told.err.splitlines()[-1])

    def works(self, *words: object) -> Any:
        """A command that is done."""
        told = self.cutaway(*words)
        assert told.code == 0, told.err
        return told

    def train(self, *words: object) -> tuple[object, ...]:
        """The words of a quick training."""
        return ("train", self.stage / "colours", "-m", self.tiny, *QUICK, *words)

    def copy(self) -> Path:
        """A run that may be changed."""
        return Path(shutil.copytree(self.run, "runs/copy"))


Scene = Callable[[Place], None]
SCENES: dict[str, Scene] = {}


def says(*snippets: str) -> Callable[[Scene], Scene]:
    """This scene tries the ways out of the sentences that hold these words."""

    def note(scene: Scene) -> Scene:
        SCENES.update(dict.fromkeys(snippets, scene))
        return scene

    return note


def commands(line: str) -> list[list[str]]:
    """The commands between backticks."""
    import shlex

    return [shlex.split(found)[1:] for found in re.findall(r"`(cutaway [^`]+)`", line)]


@says("there are no runs in", "there is no run folder", "is not a run folder: it has no run.json")
def no_runs(at: Place) -> None:
    line = at.refused("runs")
    at.patch.setattr("cutaway.training.runner.fit", _stopped_at_once)
    at.patch.setattr("cutaway.training.session._plan", lambda *_: Plan("cpu"))  # to measure how takes its time
    told = at.cutaway(*commands(line)[0])
    assert told.code == 130
    assert "shapes-resnet18-1" in at.works("runs").out
    Path("runs/empty").mkdir()
    for missing in ("runs/nothing", "runs/empty"):
        [way] = commands(at.refused("evaluate", missing))
        assert "shapes-resnet18-1" in at.works(*way).out
    at.patch.undo()


def _stopped_at_once(session: Any, watch: Any, stop: Any) -> None:
    raise Interrupted(session.folder.path)


@says(
    "exists already; choose another --run, or",
    "exists already and is no run",
    "exists already; choose another --run or resume",
)
def a_name_that_is_taken(at: Place) -> None:
    at.patch.setattr("cutaway.training.runner.fit", _stopped_at_once)
    assert at.cutaway(*at.train("--run", "one")).code == 130
    at.patch.undo()
    line = at.refused(*at.train("--run", "one"))
    at.works(*at.train("--run", "another"))
    at.works(*commands(line)[0])
    assert open_run("runs/one").status == "finished"
    Path("runs/photos/cat").mkdir(parents=True)
    assert "choose another --run" in at.refused(*at.train("--run", "photos"))


@says("has no saved state to continue")
def a_run_without_a_state(at: Place) -> None:
    path = at.copy()
    for name in ("checkpoints", "snapshots", "metrics.jsonl", "vitals.jsonl", "evaluation-test.json"):
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink(missing_ok=True)
    for file in [*path.glob("*.html"), *path.glob("*.png")]:
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
    at.patch.setattr("cutaway.training.runner.fit", _stopped_at_once)
    assert at.cutaway(*at.train("--run", "one")).code == 130
    at.patch.undo()
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

    for words in (at.train("--run", "one"), at.train(), ("kernels", at.run), ("report", at.run, "--out", "r.html")):
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


@says("--set '{}'")
def a_setting(at: Place) -> None:
    way = re.search(r"such as (--set \S+)", at.refused(*at.train("--set", "clip")))
    assert way
    at.works(*at.train(*way[1].split()))


@says("--input is")
def an_input(at: Place) -> None:
    way = at.refused("summary", "vgg16", "--input", "3x32").rpartition("such as ")[2]
    at.works("summary", "vgg16", "--input", way)


@says("--out is {}, expected a name ending in")
def an_ending(at: Place) -> None:
    for words in (("curves", at.run), ("report", at.run), ("audit", at.stage / "colours")):
        line = at.refused(*words, "--out", "x.bmp")
        for ending in re.findall(r"\.[a-z]+", line.partition("ending in")[2]):
            at.works(*words, "--out", f"x{ending}")


@says("nothing to imagine", "--unit is", "--without is for", "--invert needs an image", "--invert needs the --layer")
def imagining(at: Place) -> None:
    imagine = ("imagine", at.run, "--steps", 1, "--size", 16, "--out", "there")
    line = at.refused(*imagine)
    assert re.findall(r"--\w+", line) == ["--class", "--unit", "--layer"]
    for way in (("--class", "红"), ("--unit", "0:1"), ("--layer", "0")):
        at.works(*imagine, *way)
    assert "expected LAYER:CHANNEL" in at.refused(*imagine, "--unit", "0")
    assert "style classic" in at.refused(*imagine, "--class", "红", "--without", "jitter")
    at.works(*imagine, "--class", "红", "--without", "jitter", "--style", "classic")
    image = at.stage / "colours" / "1-红" / "000.png"
    start = ("imagine", at.run, "--steps", 1, "--out", "there")
    assert "give --from IMAGE" in at.refused(*start, "--layer", "0", "--invert")
    assert "needs the --layer" in at.refused(*start, "--class", "红", "--invert", "--from", image)
    at.works(*start, "--layer", "0", "--invert", "--from", image)


@says("--from takes one target", "--from begins with an image")
def imagining_from_an_image(at: Place) -> None:
    start = ("imagine", at.run, "--steps", 60, "--out", "there", "--from", at.stage / "colours" / "1-红" / "000.png")
    assert "run it once for each" in at.refused(*start, "--unit", "0:1", "--unit", "0:2")
    assert "leave --size and --without out" in at.refused(*start, "--unit", "0:1", "--size", 16)
    at.works(*start, "--unit", "0:1")
    at.works(*start, "--unit", "0:2")


@says("there is no list")
def a_list_to_leave_out(at: Place) -> None:
    data = Path(shutil.copytree(at.stage / "colours", "colours"))
    shutil.copy(next((data / "1-红").iterdir()), data / "1-红" / "again.png")
    line = at.refused("train", data, "-m", at.tiny, *QUICK, "--leave-out", "none.txt")
    assert "`cutaway audit DATA` writes one" in line
    told = json.loads(at.works("audit", data, "--json").out)
    at.works("train", data, "-m", at.tiny, *QUICK, "--leave-out", told["leave_out"])


@says("raise --max-bad")
def too_many_bad_files(at: Place) -> None:
    data = Path(shutil.copytree(at.stage / "colours", "colours"))
    for number in range(30):
        (data / "1-红" / f"bad-{number}.jpg").write_text("hello")
    words = ("train", data, "-m", at.tiny, *QUICK)
    assert "or raise --max-bad" in at.refused(*words)
    at.works(*words, "--max-bad", 0.5)
    for file in data.rglob("bad-*"):
        file.unlink()
    at.works(*words)


@says("with --data-dir")
def a_data_set_that_is_nowhere(at: Place) -> None:
    def offline(*_: object, **__: object) -> None:
        from cutaway.data.readers import Unusable

        raise Unusable("offline")

    at.patch.setattr("cutaway.data.sources._fetch", offline)
    at.patch.setattr("cutaway.data.sources.places", lambda name, folder: [Path(folder or "nowhere") / name])
    line = at.refused("train", "fashion-mnist", "-m", at.tiny, *QUICK)
    assert "--data-dir, or use the built-in data set 'shapes'" in line
    _write_idx(Path("mine/fashion-mnist"))
    at.works("train", "fashion-mnist", "-m", at.tiny, *QUICK, "--data-dir", "mine")


def _write_idx(folder: Path) -> None:
    """Fashion-MNIST's four files, with 60 and 20 images."""
    import gzip

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = random.integers(0, 255, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
            content = magic.to_bytes(4, "big") + sizes + values.tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))


@says("has no weights of its own", "is a run and has its own weights")
def weights_of_its_own(at: Place) -> None:
    assert "take torchvision:vgg16, or --weights FILE" in at.refused("kernels", "vgg16", "--weights", "default")
    assert "leave out --weights" in at.refused("kernels", at.run, "--weights", "x.safetensors")
    at.works("kernels", at.run)
    at.works("kernels", at.tiny, "--weights", at.run / "checkpoints" / "epoch-0001.safetensors")


@says("neither in the local cache nor could they be fetched")
def weights_that_cannot_be_fetched(at: Place) -> None:
    import torch
    import torchvision
    from safetensors.torch import save_file

    def offline(*_: object, **__: object) -> None:
        raise OSError("offline")

    at.patch.setattr(torch.hub, "load_state_dict_from_url", offline)
    at.patch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    name = "torchvision:squeezenet1_1"
    assert "--weights FILE" in at.refused("kernels", name, "--weights", "default", "--layer", "features.0")
    save_file(torchvision.models.squeezenet1_1().state_dict(), "weights.safetensors")
    at.works("kernels", name, "--weights", "weights.safetensors", "--layer", "features.0")


@says("has no 2-D convolution")
def no_convolution(at: Place) -> None:
    at.works("train", at.stage / "colours", "-m", f"{at.stage}/tiny.py:flat", *QUICK)
    run = "runs/colours-tiny-1"
    assert "`cutaway summary` lists them" in at.refused("gradients", run, "test:0")
    rows = json.loads(at.works("summary", run, "--json").out)["layers"]
    named = next(row["name"] for row in rows if row["kind"] == "Linear")
    at.works("gradients", run, "test:0", "--layer", named)


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


@says("`{} --help` shows what is expected")
def a_mistyped_command(at: Place) -> None:
    for words in (("train",), ("train", "shapes", "--epochs", "two"), ("--nothing",)):
        [way] = commands(at.refused(*words))
        at.works(*way)


@says(
    "the network may be another", "there is no such file here", "which is code that this machine has not trained with"
)
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


@says("changed while it was looked at")
def a_file_that_changes(at: Place) -> None:
    words = ("audit", at.stage / "colours")
    with at.patch.context() as patch:
        patch.setattr("cutaway.care.audit.read_header", lambda file: "gone")
        assert "run it again" in at.refused(*words)
    at.works(*words)


@says("its work goes on with `cutaway resume`")
def an_interruption(at: Place) -> None:
    at.patch.setattr("cutaway.training.runner.fit", _stopped_at_once)
    told = at.cutaway(*at.train())
    assert told.code == 130
    at.patch.undo()
    way = told.err.splitlines()[-1].rpartition("next: cutaway ")[2]
    at.works(*way.split())


# What would need a network, or has no command of its own to try.
NOT_TRIED = {
    "pip install": "it would download",
    "CUTAWAY_HOME": "a name",
}


def sentences() -> Iterator[tuple[str, str]]:
    """Where, and the text of, each sentence that names a way out; what is filled in is {}."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SPEAKERS:
                text = " ".join(filter(None, map(text_of, [*node.args, *(word.value for word in node.keywords)])))
                if WAY.search(text):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", text


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def test_every_sentence_that_names_a_way_out_is_in_the_table() -> None:
    found = list(sentences())
    assert len(found) > 30
    known = [*SCENES, *NOT_TRIED]
    assert [place for place in found if not any(snippet in place[1] for snippet in known)] == []


@pytest.mark.parametrize("scene", list(dict.fromkeys(SCENES.values())), ids=lambda scene: scene.__name__)
def test_the_way_out_leads_out(
    cutaway: Callable[..., Any], stage: Path, run: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    scene(Place(cutaway, stage, run, tiny, monkeypatch))


def test_a_read_only_run_is_told_and_not_kept(
    cutaway: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only disk, which root needs to be shown like this; exit code 3."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for words, told_in in (
        (("evaluate", run), "accuracy"),
        (("doctor", run), ""),
        (("evaluate", run, "--json"), '"accuracy"'),
    ):
        with monkeypatch.context() as patch:

            def forbidden(*_: object, **__: object) -> None:
                raise OSError(errno.EROFS, "read-only")

            patch.setattr("tempfile.mkstemp", forbidden)
            told = cutaway(*words)
        assert told.code == 3
        assert told_in in told.out
        assert told.out
        assert f"cutaway: what was found is not kept in {run}: cannot write {run}/" in told.err
        assert "copy the run to where it may be written" in told.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    copied = shutil.copytree(run, "copy")  # the way out
    assert cutaway("evaluate", copied).code == 0


def test_a_page_that_cannot_be_written_does_not_hide_the_training(
    cutaway: Callable[..., Any], stage: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        from cutaway.files import explain_disk_errors

        with explain_disk_errors(Path("index.html")):
            raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("cutaway.report.write_page", full)
        told = cutaway("train", stage / "colours", "-m", tiny, *QUICK)
    assert told.code == 3
    assert "best epoch 1" in told.out
    assert "what was found is not kept" in told.err
    way = told.out.splitlines()[-1].removeprefix("next: cutaway ").split()
    assert cutaway(*way).code == 0
    assert Path("runs/colours-tiny-1/index.html").is_file()
