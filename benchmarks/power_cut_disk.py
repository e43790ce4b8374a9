"""A real power cut: a file system loses what it had not written to its disk.

Linux and root only. A training writes into a file system of its own, which lies in a file that is mounted as a disk. At
random moments the training is held still and the file is copied: the copy is the disk as the file system had left it,
without what was only in the memory of the system. Each copy is mounted, which replays its journal as after a power cut,
and the run in it must go on, from no earlier than the last state that was promised, to the same bits as a training that
was never cut.

    sudo python benchmarks/power_cut_disk.py [--cuts N] [--system ext4|xfs|btrfs]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork keeps no threads

from cutaway.errors import InputError
from cutaway.training import session as sessions
from cutaway.training import train
from power_cut import RECIPE, Stage, Watching, outcome

SIZES = {"ext4": 64, "xfs": 320, "btrfs": 128}  # megabytes, the least that their makers accept
LONG = {**RECIPE, "epochs": 6}


@contextmanager
def mounted(disk: Path, place: Path) -> Iterator[None]:
    """A file system in a file, mounted."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def begin(stage: Stage, runs: Path, report: int) -> int:
    """Train in a process of its own, which notes the step of each state that it was promised."""
    pid = os.fork()
    if pid:
        return pid
    real = sessions.save_state

    def noted(folder: object, state: sessions.State) -> None:
        real(folder, state)  # type: ignore[arg-type]
        os.pwrite(report, b"%12d" % state.progress.step, 0)

    sessions.save_state = noted  # type: ignore[assignment]
    try:
        train(stage.data, stage.spec, recipe=LONG, runs=runs, name="run", device="cpu")
    finally:
        os._exit(0)


def cut(stage: Stage, disk: Path, place: Path, count: int, seed: int) -> Iterator[tuple[Path, int]]:
    """Copies of the disk at random moments of trainings, and the step that was promised by then."""
    generator, made = random.Random(seed), 0
    while made < count:
        shutil.rmtree(place / "runs", ignore_errors=True)
        os.sync()
        with tempfile.TemporaryFile() as report:
            pid, alive = begin(stage, place / "runs", report.fileno()), True
            try:
                while made < count:
                    time.sleep(generator.uniform(0.02, 0.6))
                    alive = not os.waitpid(pid, os.WNOHANG)[0]
                    if not alive:
                        break
                    os.kill(pid, signal.SIGSTOP)
                    promised = int(os.pread(report.fileno(), 12, 0) or b"-1")
                    copy = disk.with_name(f"cut-{made}.img")
                    if copied(disk, copy):
                        made += 1
                        yield copy, promised
                    os.kill(pid, signal.SIGCONT)
            finally:
                if alive:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def copied(disk: Path, copy: Path) -> bool:
    """Copy the disk; False if the system wrote to it meanwhile, which no power cut could look like."""
    before = disk.stat().st_mtime_ns
    shutil.copyfile(disk, copy)
    return disk.stat().st_mtime_ns == before


def judge(stage: Stage, whole: object, copy: Path, place: Path, promised: int) -> str:
    """What became of a disk; looked at by a process of its own, which leaves no file open on it."""
    with mounted(copy, place), tempfile.TemporaryFile() as told:
        pid = os.fork()
        if pid == 0:
            try:
                os.pwrite(told.fileno(), _judged(stage, whole, place / "runs" / "run", promised).encode(), 0)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return told.read().decode() or "a crash"


def _judged(stage: Stage, whole: object, path: Path, promised: int) -> str:
    watch = Watching()
    try:
        run = stage.resume(path, watch)
    except (InputError, FileNotFoundError) as error:
        return f"refused: {error}" if promised >= 0 else "nothing promised"
    if watch.begun < promised:
        return f"goes on from step {watch.begun}, promised was {promised}"
    return "exact" if outcome(run) == whole else "other bits"


def main() -> int:
    """Cut, go on, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--system", choices=SIZES, default="ext4")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder, disk = Path(name), Path(name) / "disk.img"
        os.environ |= {"CUTAWAY_CACHE": f"{folder}/cache", "CUTAWAY_HOME": f"{folder}/home"}
        stage = Stage.of(folder)
        whole = outcome(train(stage.data, stage.spec, recipe=LONG, runs=folder, name="long", device="cpu"))
        with disk.open("wb") as file:
            file.truncate(SIZES[arguments.system] * 2**20)
        subprocess.run([f"mkfs.{arguments.system}", "-q", str(disk)], check=True)
        with mounted(disk, folder / "disk"):
            for copy, promised in cut(stage, disk, folder / "disk", arguments.cuts, arguments.seed):
                found = judge(stage, whole, copy, folder / "cut", promised)
                counts[found] += 1
                copy.unlink()
    print(f"{arguments.system}: {sum(counts.values())} cuts: {dict(counts)}")
    return int(counts.keys() - {"exact", "nothing promised"} != set())


if __name__ == "__main__":
    sys.exit(main())
