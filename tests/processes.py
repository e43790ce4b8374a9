"""Real processes of the program, and who of their group is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "cutaway"]


def start(*words: object, **more: Any) -> subprocess.Popen[str]:
    """`cutaway WORDS` as the leader of a group of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([*COMMAND, *map(str, words)], **{**pipes, **more})


def ended(process: subprocess.Popen[str], patience: float = 60) -> tuple[int, str, list[int]]:
    """Exit code, what it said on stderr, and who is left of its group a moment later; they are ended, too."""
    try:
        _, err = process.communicate(timeout=patience)
    finally:
        left = alive(process.pid)
        if left:
            time.sleep(0.2)  # a killed process is a moment in the table still
            left = alive(process.pid)
        if left:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err, left


def alive(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state not in ("Z", "X"):
            found.append(int(path.parent.name))
    return found
