"""The process that does one job: `python -P -m cutaway.web.worker JOB_FOLDER RUNS_FOLDER [--trust]`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

from cutaway.computing.process import set_up
from cutaway.errors import InputError
from cutaway.files import write_json
from cutaway.web.jobs import BEAT, JobProgress, State, read_job
from cutaway.web.site import Site


class Report:
    """Tells how far the job is, every second, so that the server knows that it lives."""

    def __init__(self, path: Path) -> None:
        self._path, self._ended = path, threading.Event()
        self._now = JobProgress("running", pid=os.getpid())
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, daemon=True).start()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Progress, as lenses tell it."""
        self._now = replace(self._now, label=label, done=int(done), total=int(total))

    def end(self, state: State, *, error: str = "", result: str = "") -> None:
        """The last word."""
        with self._lock:
            self._ended.set()
            write_json(self._path, asdict(replace(self._now, state=state, error=error, result=result)))

    def _beat(self) -> None:
        while True:
            with self._lock:
                if self._ended.is_set():
                    return
                write_json(self._path, asdict(self._now))
            self._ended.wait(BEAT)


def main(folder: Path, root: Path, trust: bool = False) -> int:
    """Do the job in `folder`; whatever goes wrong is one sentence in its progress."""
    report = Report(folder / "progress.json")
    try:
        job, ours = read_job(folder)
        if not ours:
            raise InputError(f"{folder} is no work that this machine was asked for")
        if job["kind"] != "train":
            signal.signal(signal.SIGTERM, _stop)
        report.end("done", result=work(job["kind"], job["about"], Site(root, trust=trust), report))
        return 0
    except SystemExit:
        report.end("cancelled")
        return 0
    except InputError as error:
        report.end("failed", error=str(error))
    except Exception as error:  # the server must hear of it, whatever it is
        traceback.print_exc()
        report.end("failed", error=f"{type(error).__name__}: {' '.join(str(error).split())}")
    return 1


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def work(kind: str, about: Mapping[str, Any], site: Site, report: Report) -> str:
    """What a kind of job does; returns what its page needs to find the result."""
    from cutaway.web import tasks

    works = (tasks.predict, tasks.explain, tasks.atlas, tasks.compare, tasks.train)
    return next(one for one in works if one.__name__ == kind)(about, site, report)


if __name__ == "__main__":
    set_up()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), "--trust" in sys.argv[3:]))
