"""Exemplars of all convolutional units of VGG-16 over CIFAR-10, beside the plain forward pass.

Both use the whole machine, the same batches, the same decoded images and the same standardisation. Plain passes:
PyTorch as it comes (one process, all threads), and the same arithmetic as the scan (channels innermost, tiny maps as
matrix products) in as many single-threaded processes as the scan has. Each is run in a process of its own, in turn,
and its peak memory is that of all its processes together (proportional set size, so that shared pages count once).
Processor time is shown too: it is what remains comparable while something else runs on the machine.

The scan is then repeated with 1 and with 4 processes and after kills, and the files are compared.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cutaway
from cutaway.computing.process import set_up
from cutaway.data import Split
from cutaway.data.parallel import usable_cores
from cutaway.models import Model, Preprocessing
from cutaway.scope import Scope
from cutaway.scope.exemplar_chunks import computing, one_thread

BATCH = 64


def subject(data: str, images: int | None) -> tuple[Model, Split]:
    """The network and the images: the whole training set, before a part is set aside for validation."""
    loaded = cutaway.load_data(data)
    mean = Preprocessing(loaded.shape, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    model = cutaway.load_model("vgg16", classes=loaded.classes, shape=loaded.shape, preprocessing=mean, seed=0)
    parts = [loaded.splits[name] for name in ("train", "val")]
    whole = copy.copy(parts[0].images)  # both are rows of one mapped file
    whole.rows = np.concatenate([part.images.rows for part in parts])[:images]
    labels, hashes = (
        np.concatenate(arrays)[:images] for arrays in zip(*((part.labels, part.hashes) for part in parts), strict=True)
    )
    return model, Split("train", whole, labels, known_hashes=hashes)


def batches(model: Model, split: Split, ids: np.ndarray) -> Iterator[Tensor]:
    assert model.preprocessing is not None
    for batch in split.batches(ids, BATCH):
        yield model.preprocessing(batch.images)


def plain(model: Model, split: Split, bf16: bool) -> None:
    """PyTorch as it comes."""
    network = model.network.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for images in batches(model, split, np.arange(len(split))):
            network(images)


def same_arithmetic(model: Model, split: Split, bf16: bool) -> None:
    """The forward pass as the scan computes it, in as many processes."""
    children = []
    for part in np.array_split(np.arange(len(split)), usable_cores()):
        child = os.fork()
        if child == 0:
            network = model.network.eval()
            with torch.inference_mode(), one_thread(torch.device("cpu")), computing(torch.device("cpu"), bf16):
                for images in batches(model, split, part):
                    network(images.contiguous(memory_format=torch.channels_last))
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


def scan(model: Model, split: Split, bf16: bool, processes: int | None = None, folder: str | None = None) -> None:
    found = Scope(model).exemplars(
        split, processes=processes, folder=folder, batch=BATCH, precision="bf16" if bf16 else "fp32"
    )
    units = sum(len(layer.best.scores) for layer in found.layers.values())
    print(json.dumps({"units": units, "check": dict(found.certificate.check)}), file=sys.stderr, flush=True)


class Memory(threading.Thread):
    """The peak of this process and its children, in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, sum(_proportional(pid) for pid in _family(os.getpid())))
            time.sleep(0.5)


def _family(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *(one for child in text.split() for one in _family(int(child)))]


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


PROGRAMS = {"plain": plain, "same": same_arithmetic, "scan": scan}


def child(arguments: argparse.Namespace) -> None:
    """One program, measured from the first image to the last."""
    model, split = subject(arguments.data, arguments.images)
    bf16 = arguments.precision == "bf16"
    PROGRAMS[arguments.program](model, Split("warm", split.images.select(np.arange(BATCH)), split.labels[:BATCH]), bf16)
    memory = Memory()
    memory.start()
    start, used = time.perf_counter(), processor_seconds()
    if arguments.program == "scan":
        scan(model, split, bf16, arguments.processes, arguments.folder)
    else:
        PROGRAMS[arguments.program](model, split, bf16)
    seconds, processor = time.perf_counter() - start, processor_seconds() - used
    print(json.dumps({"seconds": seconds, "processor": processor, "mib": memory.peak, "images": len(split)}))


def processor_seconds() -> float:
    """Of this process and the children it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def command(arguments: argparse.Namespace, program: str, **more: Any) -> list[str]:
    words = [sys.executable, __file__, "--program", program, "--data", arguments.data]
    words += ["--precision", arguments.precision]
    words += ["--images", str(arguments.images)] if arguments.images else []
    return words + [word for name, value in more.items() for word in (f"--{name}", str(value))]


def measure(arguments: argparse.Namespace, program: str) -> dict[str, float]:
    out = subprocess.run(command(arguments, program), check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures


def speed(arguments: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for turn in range(arguments.rounds):
        for name in PROGRAMS:
            found[name].append(measure(arguments, name))
            one = found[name][-1]
            print(
                f"round {turn + 1} {name:5} {one['seconds']:7.1f} s  {one['images'] / one['seconds']:7.1f} images/s  "
                f"{one['processor']:7.1f} s of processor  {one['mib']:6.0f} MiB",
                flush=True,
            )
    for name in ("plain", "same"):
        ratios = [ours["seconds"] / theirs["seconds"] for ours, theirs in zip(found["scan"], found[name], strict=True)]
        print(
            f"scan / {name}: median {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} rounds)"
        )
    print(f"peak memory of the scan: {max(one['mib'] for one in found['scan']):.0f} MiB")


def identity(arguments: argparse.Namespace, kills: int) -> None:
    """The same scan with 1 and 4 processes, and with 2 that are killed now and then."""
    with tempfile.TemporaryDirectory() as base:
        for processes in (1, 4):
            words = command(arguments, "scan", processes=processes, folder=f"{base}/{processes}")
            subprocess.run(words, check=True, capture_output=True)
        words = command(arguments, "scan", processes=2, folder=f"{base}/killed")
        for number in range(kills):
            running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = len(list(Path(base, "killed").rglob("chunk-*")))
            while running.poll() is None and len(list(Path(base, "killed").rglob("chunk-*"))) < before + 2 + number:
                time.sleep(0.2)
            running.send_signal(signal.SIGKILL)
            running.wait()
        subprocess.run(words, check=True, capture_output=True)
        files = {name: next(Path(base, name).rglob("all.safetensors")).read_bytes() for name in ("1", "4", "killed")}
        distinct = len(set(files.values()))
        print(f"files of 1 process, 4 processes and 2 killed {kills} times: {distinct} distinct, expected 1")
        assert distinct == 1


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="cifar10", help="a data set of 3x32x32 images")
    parser.add_argument("--images", type=int, help="only so many of the 50,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--program", choices=tuple(PROGRAMS), help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program:
        child(arguments)
        return
    speed(arguments)
    identity(arguments, arguments.kills)


if __name__ == "__main__":
    main()
