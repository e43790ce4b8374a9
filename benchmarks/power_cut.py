"""A power cut at every moment of a training: what may be on the disk is rebuilt, and must go on to the same bits.

A training is recorded in its own process: before and after every call that orders a disk (fsync, rename, unlink,
mkdir, truncate) the run folder is compared with what it was, so that no write escapes, whoever made it. Then the
power is cut after each event, and the disk is imagined as pessimistically as POSIX allows:

- what a file holds is what it held at its last fsync, or all of what was written since, or half of it, or its length
  with zeros for the new part;
- a name that was made, changed or removed since the last fsync of its folder is so or is not: none, all, the first
  half, or a random choice of those that are pending.

Each different disk is rebuilt in a new place. The list of runs must show it, `resume` must go on from no earlier than
the last state that `save_state` had promised, and the finished run must be that of a training without a cut: every
tensor, every line but for the clocks. Where nothing was promised yet, the name must be free for the same command.

    python benchmarks/power_cut.py [--every N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data import Dataset, load_data
from cutaway.errors import InputError
from cutaway.runs import Run, need_unborn, open_run
from cutaway.training import Diverged, Interrupted, Watcher, resume, train
from cutaway.views.runs import list_lines
from disks import Disk, Recorder, digest, rebuild, recording

RECIPE = {"epochs": 2, "batch_size": 16, "precision": "fp32", "save_every": 1e-9, "log_every": 1, "ema": 0.9}
DIVERGING = {**RECIPE, "epochs": 40, "learning_rate": 900.0, "weight_decay": 9.0, "optimizer": "sgd", "warmup": 0}
NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4, num_classes),
    )
"""


def outcome(run: Run) -> dict[str, Any]:
    """What two trainings with the same bits agree in."""
    from safetensors.numpy import load_file

    def timeless(line: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in line.items() if key not in ("seconds", "images_per_second", "check")}

    tensors = {epoch: load_file(run.weights(epoch)) for epoch in run.epochs}
    return {
        "status": run.status,
        "lines": [timeless(line) for line in run.metrics()],
        "vitals": run.vitals(),
        "weights": {(e, name): value.tobytes() for e, all_ in tensors.items() for name, value in all_.items()},
    }


class Watching(Watcher):
    """Remembers from which step a training went on."""

    def __init__(self, enough: int = 0) -> None:
        self.begun, self.left = -1, enough

    def begin(self, steps: int, steps_an_epoch: int, epochs: int, batch_size: int) -> None:
        self.begun = steps

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1

    def enough(self) -> bool:
        return self.left == 0


@dataclass(frozen=True)
class Stage:
    """What is trained on what, and how it ends without a cut."""

    folder: Path
    data: Dataset
    spec: str
    whole: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Stage:
        """Images, a network and the training that nothing disturbs."""
        from PIL import Image

        generator = np.random.default_rng(0)
        for name, shade in (("dark", 60), ("light", 190)):
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(30):
                pixels = generator.normal(shade, 50, (10, 10, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02d}.png")
        (folder / "net.py").write_text(NETWORK)
        data = load_data(folder / "photos")
        spec = f"{folder}/net.py:make"
        whole = train(data, spec, recipe=RECIPE, runs=folder, name="whole", device="cpu")
        return cls(folder, data, spec, outcome(whole))

    def train(self, name: str, recipe: Mapping[str, Any] = RECIPE, watch: Watcher | None = None) -> Run:
        """Begin a run."""
        return train(self.data, self.spec, recipe=recipe, runs=self.folder, name=name, device="cpu", watch=watch)

    def resume(self, path: Path, watch: Watcher | None = None) -> Run:
        """Continue one."""
        return resume(path, data=self.data, watch=watch)


def record(stage: Stage, kind: str) -> Recorder:
    """The events of a training from its beginning, of a continuation, or of one whose loss becomes no number."""
    path = stage.folder / kind
    if kind == "continued":
        with suppress(Interrupted):
            stage.train(kind, watch=Watching(enough=4))
        _lose_the_newest_state(path)
    with recording(path) as recorder:
        if kind == "continued":
            stage.resume(path)
        elif kind == "diverged":
            with suppress(Diverged):
                stage.train(kind, DIVERGING)
        else:
            stage.train(kind)
    return recorder


def _lose_the_newest_state(path: Path) -> None:
    """So that `resume` has something to cut from the logs."""
    (path / "checkpoints" / "state.safetensors").unlink()


def cuts(recorder: Recorder, every: int, seed: int) -> Iterator[tuple[str, int, dict[str, bytes | None]]]:
    """Each different disk that a cut can leave: where and how, the promised step, and the disk."""
    generator, disk, seen = random.Random(seed), Disk(), set[tuple[str, int]]()
    for place, event in enumerate(recorder.events):
        disk.take(event)
        if place + 1 == recorder.begun:
            disk.settle()
        if place + 1 < recorder.begun or (place - recorder.begun) % every:
            continue
        for how, image in disk.images(generator):
            key = (digest(image), disk.promised)
            if key not in seen:
                seen.add(key)
                what = f"after {event.kind} {event.call} {dict(event.names) if event.names else event.folder}"
                yield f"event {place} {what}: {how}", disk.promised, image


def judge(stage: Stage, image: Mapping[str, bytes | None], promised: int, diverged: bool = False) -> str:
    """What became of a disk: "exact", "nothing promised", or what is wrong."""
    with tempfile.TemporaryDirectory(dir=stage.folder) as inside:
        path = Path(inside) / "run"
        rebuild(image, path)
        if path.exists() and (path / "run.json").is_file():
            [line] = list_lines([Run(open_run(path).folder)]) if _opens(path) else [None]
            if promised >= 0 and (line is None or (line.problems and not diverged)):
                return f"the list of runs refuses it: {line.problems if line else 'run.json'}"
            if promised >= 0 and (problem := _unread(path)):
                return f"its logs are refused: {problem}"
        watch = Watching()
        try:
            run = stage.resume(path, watch)
        except Diverged:
            return "exact" if watch.begun >= promised else f"goes on from {watch.begun}, promised was {promised}"
        except (InputError, FileNotFoundError) as error:
            return f"refused: {error}" if promised >= 0 else _is_free(path)
        if watch.begun < promised:
            return f"goes on from step {watch.begun}, promised was {promised}"
        found = outcome(run)
        wrong = [name for name, value in stage.whole.items() if found[name] != value]
        return f"other {', '.join(wrong)}" if wrong else "exact"


def _unread(path: Path) -> str:
    try:
        run = open_run(path)
        run.metrics(), run.vitals(), run.checkups()
    except InputError as error:
        return str(error)
    return ""


def _opens(path: Path) -> bool:
    try:
        open_run(path)
    except InputError:
        return False
    return True


def _is_free(path: Path) -> str:
    """Whether the same command can begin again where nothing was promised."""
    try:
        need_unborn(path)
    except InputError as error:
        return f"the name is not free: {error}"
    return "nothing promised"


def main() -> int:
    """Cut everywhere, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--every", type=int, default=1, help="cut after every N-th event")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CUTAWAY_CACHE": f"{folder}/cache", "CUTAWAY_HOME": f"{folder}/home"}
        stage = Stage.of(Path(folder))
        for kind in ("begun", "continued", "diverged"):
            start, counts = time.monotonic(), Counter[str]()
            recorder = record(stage, kind)
            for where, promised, image in cuts(recorder, arguments.every, arguments.seed):
                found = judge(stage, image, promised, kind == "diverged")
                counts[found if found in ("exact", "nothing promised") else "wrong"] += 1
                if found not in ("exact", "nothing promised"):
                    print(json.dumps({"training": kind, "cut": where, "found": found[:300]}), flush=True)
            seconds = round(time.monotonic() - start)
            events = len(recorder.events) - recorder.begun
            print(f"{kind}: {events} events, {sum(counts.values())} disks, {dict(counts)}, {seconds} s", flush=True)
            total += counts
            shutil.rmtree(stage.folder / kind, ignore_errors=True)
    print(f"{sum(total.values())} disks after a power cut: {dict(total)}")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
