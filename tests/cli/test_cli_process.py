"""The program as a process: exit codes, a closed pipe, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "cutaway"]


def test_a_mistake_ends_with_code_2_and_one_line() -> None:
    done = subprocess.run([*COMMAND, "evaluate", "nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == (
        "",
        "cutaway: there is no run folder nowhere; `cutaway runs` lists the runs\n",
    )


def test_a_reader_that_leaves_early_brings_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_training_well(stage: Path, tiny: str, number: signal.Signals) -> None:
    words = ["train", str(stage / "colours"), "-m", tiny, "--epochs", "5000", "--batch-size", "16"]
    words += ["--set", "precision=fp32"]
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("epoch "):
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert out == ""
    assert err.endswith("interrupted, nothing is lost; next: cutaway resume runs/colours-tiny-1\n")
    assert json.loads(Path("runs/colours-tiny-1/run.json").read_text())["status"] == "interrupted"
