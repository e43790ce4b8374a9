"""Kill trainings, atlases and scans at chosen moments, go on, and compare with what was never killed.

A process is forked for each command, so that torch is loaded once. In it every call that orders a disk (fsync, rename,
unlink, mkdir, truncate) is counted, and the process kills itself with SIGKILL before or after the n-th: between two
renames, between a log and the state that counts on it, while nothing but a name is left to change. The moments are
spread over all there are. In every other round the continuation is killed as well, and then continued.

Afterwards every tensor and every line but for the clocks must be those of the undisturbed command, no file of a killed
writer may be left, no process, no traceback.

    python benchmarks/kills.py [--kills N] [--only NAME] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork keeps no threads

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

import cutaway.cli.app
import cutaway.scope.atlas
import cutaway.training  # noqa: F401  # loaded before the forks, as the two above
from cutaway.cli import main as cli
from cutaway.runs import open_run
from cutaway.web import worker
from cutaway.web.jobs import Jobs
from disks import CALLS
from power_cut import outcome

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3, dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(12, num_classes),
    )


def drops(num_classes=10, in_channels=3):
    return make(num_classes, in_channels, 0.3)
"""
COMMON = ("--epochs", "2", "--batch-size", "16", "--set", "precision=fp32", "--set", "save_every=0.000001")
PATIENCE = 300.0  # seconds until a command counts as hanging


@dataclass(frozen=True)
class Told:
    """How a forked command ended: its code (-9 for a kill), stderr, calls that were counted, processes left."""

    code: int
    err: str
    calls: int
    left: int
    hung: bool


@dataclass(frozen=True)
class Kind:
    """One kind of work.

    Attributes:
        name: of the kind.
        begin: does the work in a folder, in the forked process.
        go_on: continues it; None where the same command does.
        result: what must be the same in the end.
        place: the folder whose files belong to it.
    """

    name: str
    begin: Callable[[Path], None]
    go_on: Callable[[Path], None] | None
    result: Callable[[Path], Any]
    place: Callable[[Path], Path]


def trained(name: str, *options: str, factory: str = "make") -> Kind:
    """A training by the command line."""

    def begin(home: Path) -> None:
        words = ["train", str(home.parent / "photos"), "--model", f"{home.parent}/net.py:{factory}", *COMMON, *options]
        cli([*words, "--runs", str(home), "--run", "run"])

    return Kind(name, begin, resumed, lambda home: outcome(open_run(home / "run")), lambda home: home / "run")


def resumed(home: Path) -> None:
    """Continue the run."""
    cli(["resume", str(home / "run")])


def from_a_page(home: Path) -> None:
    """A training that the server's worker does."""
    recipe = {"epochs": 2, "batch_size": 16, "precision": "fp32", "save_every": 1e-6}
    about = {
        "data": str(home.parent / "photos"),
        "model": f"{home.parent}/net.py:make",
        "name": "run",
        "recipe": recipe,
    }
    jobs = Jobs(home / ".microscope" / "jobs", home)
    jobs.pump = lambda: None  # type: ignore[method-assign]  # the work is done here, not in a process of its own
    job = jobs.want("train", about, again=True)
    sys.exit(worker.main(jobs.folder / job.id, home))


def scanned(name: str, *words: str) -> Kind:
    """An atlas or exemplars, which the same command continues."""

    def begin(home: Path) -> None:
        cli([words[0], str(home.parent / "runs" / "run"), str(home.parent / "photos"), *_placed(home, words[1:])])

    return Kind(
        name, begin, None, lambda home: _files(_result_of(home, words[0])), lambda home: _result_of(home, words[0])
    )


def _placed(home: Path, words: tuple[str, ...]) -> list[str]:
    return [str(home / "out") if word == "OUT" else word for word in words]


def _result_of(home: Path, verb: str) -> Path:
    return home.parent / "runs" / "run" / "atlas" if verb == "atlas" else home / "out"


def _files(folder: Path) -> dict[str, Any]:
    """All tensors below a folder by file and name."""
    found = {}
    for path in sorted(folder.rglob("[!.]*.safetensors")):
        place = path.relative_to(folder)
        found.update({f"{place}/{name}": value.tobytes() for name, value in load_file(path).items()})
    return found


KINDS = (
    trained("plain"),
    trained("ema", "--set", "ema=0.9"),
    trained("dropout", "--optimizer", "adamw", factory="drops"),
    trained("augmented", "--set", "flip=random", "--set", "shift=2", "--set", "cutout=4", "--set", "jitter=0.2"),
    trained("family", "--keep-together", "--set", "ema=0.9"),
    Kind("page", from_a_page, resumed, lambda home: outcome(open_run(home / "run")), lambda home: home / "run"),
    scanned("atlas", "atlas", "--layer", "0", "--layer", "3", "--steps", "2"),
    scanned("exemplars", "exemplars", "--layer", "0", "--layer", "3", "--processes", "2", "--out", "OUT"),
)


class Killer:
    """Counts the calls that order a disk, and ends the process at one of them."""

    def __init__(self, at: int, report: int) -> None:
        self.at, self.report, self.count = at, report, 0
        for name in CALLS:
            setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self._moment()
            result = real(*arguments, **more)
            self._moment()
            return result

        return call

    def _moment(self) -> None:
        self.count += 1
        os.pwrite(self.report, b"%12d" % self.count, 0)
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[Path], None], home: Path, at: int = 0) -> Told:
    """Do `work` in a process of its own that kills itself at moment `at` (0: never)."""
    with tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as report:
        pid = os.fork()
        if pid == 0:
            _work(work, home, at, err.fileno(), report.fileno())
        code, hung = _awaited(pid)
        time.sleep(0.02)
        left = _group(pid)
        if left:
            os.killpg(pid, signal.SIGKILL)
        err.seek(0)
        calls = int(os.pread(report.fileno(), 12, 0) or b"0")
        return Told(code, err.read().decode("utf-8", "replace"), calls, left, hung)


def _work(work: Callable[[Path], None], home: Path, at: int, err: int, report: int) -> NoReturn:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(err, 2)
    Killer(at, report)
    code = 0
    try:
        work(home)
    except SystemExit as done:
        code = int(done.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    sys.stderr.flush()
    os._exit(code)


def _awaited(pid: int) -> tuple[int, bool]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), True


def _group(group: int) -> int:
    """How many processes of a group have not ended."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        count += int(pgrp) == group and state not in ("Z", "X")
    return count


def go_on(kind: Kind, home: Path, at: int = 0) -> Told:
    """Continue as the messages say: `resume`, or the same command where there is no state yet."""
    if kind.go_on is not None and list((home / "run" / "checkpoints").glob("state*.safetensors")):
        return forked(kind.go_on, home, at)
    return forked(kind.begin, home, at)


def rounds(kind: Kind, home: Path, count: int, generator: random.Random, counts: Counter[str]) -> None:
    """Kill `count` times; every other round twice."""
    expected, moments = _undisturbed(kind, home)
    killed, number = 0, 0
    while killed < count:
        _clean(kind, home)
        at = 1 + int((killed + generator.random()) / count * moments)
        told = [forked(kind.begin, home, at)]
        killed += told[-1].code == -signal.SIGKILL
        if number % 2 and killed < count:
            told.append(go_on(kind, home, generator.randint(1, moments)))
            killed += told[-1].code == -signal.SIGKILL
        number += 1
        listed = forked(lambda home: cli(["runs", str(home)]), home) if kind.go_on else None
        told.append(go_on(kind, home))
        _count(kind, home, expected, [*told, *([listed] if listed else [])], told[-1], at, counts)
    counts["kills"] += killed


def _count(kind: Kind, home: Path, expected: Any, told: list[Told], last: Told, at: int, counts: Counter[str]) -> None:
    same = last.code == 0 and kind.result(home) == expected
    leftovers = [path for path in kind.place(home).rglob(".*.tmp")]
    now = Counter(
        rounds=1,
        continued=last.code == 0,
        identical=same,
        tracebacks=sum("Traceback" in one.err for one in told),
        hangs=sum(one.hung for one in told),
        leftovers=len(leftovers),
        processes=sum(one.left for one in told),
    )
    counts.update(now)
    if not same or now["tracebacks"] or now["hangs"] or now["leftovers"] or now["processes"]:
        codes = [one.code for one in told]
        print(json.dumps({"kind": kind.name, "at": at, "codes": codes, **now, "err": told[-1].err[-400:]}), flush=True)


def _undisturbed(kind: Kind, home: Path) -> tuple[Any, int]:
    _clean(kind, home)
    whole = forked(kind.begin, home)
    assert whole.code == 0, whole.err
    return kind.result(home), whole.calls


def _clean(kind: Kind, home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(kind.place(home), ignore_errors=True)
    home.mkdir()


def stage(folder: Path) -> None:
    """Photographs with near duplicates, a network, and a run for the atlas."""
    (folder / "net.py").write_text(NETWORK)
    generator = np.random.default_rng(0)
    for name, shade in (("dark", 60), ("middle", 120), ("light", 190)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.normal(shade, 50, (12, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02d}.png")
            if number % 10 == 0:
                Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02d}-again.jpg", quality=95)
    (folder / "runs").mkdir()
    told = forked(KINDS[0].begin, folder / "runs")
    assert told.code == 0, told.err


def main() -> int:
    """Kill, go on, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", action="append", metavar="NAME", help=", ".join(kind.name for kind in KINDS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = [kind for kind in KINDS if not arguments.only or kind.name in arguments.only]
    generator, total, start = random.Random(arguments.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"CUTAWAY_CACHE": f"{folder}/cache", "CUTAWAY_HOME": f"{folder}/user"}
        stage(folder)
        for place, kind in enumerate(kinds):
            share = arguments.kills * (place + 1) // len(kinds) - arguments.kills * place // len(kinds)
            counts: Counter[str] = Counter()
            rounds(kind, folder / "home", share, generator, counts)
            print(f"{kind.name}: {_line(counts)}", flush=True)
            total += counts
    print(f"all: {_line(total)}, {time.monotonic() - start:.0f} s")
    return int(
        total["identical"] != total["rounds"] or any(total[name] for name in ("tracebacks", "hangs", "leftovers"))
    )


def _line(counts: Mapping[str, int]) -> str:
    names = ("kills", "rounds", "continued", "identical", "tracebacks", "hangs", "leftovers", "processes")
    return ", ".join(f"{counts.get(name, 0)} {name}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
