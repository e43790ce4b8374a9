"""Long work in processes of its own: queued, one at a time, with progress and cancel, known again after a restart.

A job is a folder named after what it does, so that the same wish is the same job. `job.json` says what is wanted,
`progress.json` how far it is; the worker writes the second one every second while it lives. A folder may come from
anybody, so a job carries this machine's signature; one without is listed as foreign, and never started or stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from cutaway.errors import InputError
from cutaway.files import Unreadable, alone, parse_json, read_bytes, write_json
from cutaway.runs.checked import CLOSED, Range, check
from cutaway.web.signing import is_ours, signature

KINDS = ("predict", "explain", "atlas", "compare", "train")
BEAT = 1.0  # seconds between two signs of life
_SILENT = 15.0  # seconds without one, and a worker counts as dead
_MOST = 1_000_000  # bytes of a record
_OPEN = ("waiting", "running")
_ID = re.compile("[0-9a-f]{16}")
WORKER = "cutaway.web.worker"


State = Literal["waiting", "running", "done", "failed", "cancelled", "foreign"]


class JobRecord(TypedDict):
    """`job.json`."""

    kind: Literal["predict", "explain", "atlas", "compare", "train"]
    about: dict[str, Any]
    queued: float
    signature: NotRequired[str]


class ProgressRecord(TypedDict):
    """`progress.json`."""

    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    label: str
    done: int
    total: int
    error: str
    pid: Annotated[int, Range(0, 2**31 - 1)]
    result: str


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        state: "waiting", "running", "done", "failed", "cancelled", or "foreign": somebody else's.
        label: what is being done.
        done, total: how much of it.
        error: why it failed, one sentence.
        pid: of the worker.
        result: what it left, for its page.
    """

    state: State = "waiting"
    label: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    pid: int = 0
    result: str = ""


@dataclass(frozen=True)
class Job:
    """One piece of long work."""

    id: str
    kind: str
    about: Mapping[str, Any]
    queued: float
    progress: JobProgress

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.progress.state in _OPEN


class Jobs:
    """All jobs of a folder of runs.

    Args:
        folder: where they are kept.
        root: the folder of runs, for the workers.
        trust: whether workers may run the code that runs name.
    """

    def __init__(self, folder: Path, root: Path, trust: bool = False) -> None:
        # Whole paths, by which a worker is known again from whichever folder its server was started.
        self.folder, self.root, self.trust = Path(os.path.abspath(folder)), Path(os.path.abspath(root)), trust
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._held: ExitStack | None = None  # the lock of the one server that starts workers

    def want(self, kind: str, about: Mapping[str, Any], *, again: bool = False) -> Job:
        """The job that does this: the one there is, or a new one; one that failed or is wanted again starts anew."""
        if kind not in KINDS:
            raise InputError(f"there is no job '{kind}'; there are {', '.join(KINDS)}")
        name = job_id(kind, about)
        with self._lock:
            found = self.find(name)
            if found is None or (not found.open and (again or found.progress.state != "done")):
                path = self.folder / name
                if os.path.islink(path):
                    raise InputError(f"{path} is a link, which no job of ours is; remove it")
                signed = signature(self.folder, name, kind, about)
                record = {"kind": kind, "about": dict(about), "queued": time.time(), "signature": signed}
                write_json(path / "progress.json", asdict(JobProgress()))
                write_json(path / "job.json", record)  # the last: from now on it is a job of ours
            self.pump()
            fresh = self.find(name)
        assert fresh is not None
        return fresh

    def find(self, name: str) -> Job | None:
        """A job by its id; a running one whose worker has died has failed."""
        path = self.folder / name
        if not _ID.fullmatch(name) or os.path.islink(path) or not os.path.isfile(path / "job.json"):
            return None
        try:
            job, ours = read_job(path)
        except InputError:
            return None  # nobody can say what was asked for
        found = Job(name, job["kind"], job["about"], job["queued"], JobProgress("foreign"))
        return self._checked(replace(found, progress=self._progress(name))) if ours else found

    def _progress(self, name: str) -> JobProgress:
        path = self.folder / name / "progress.json"
        try:
            return JobProgress(**_record(path, Annotated[ProgressRecord, CLOSED]))
        except InputError as error:
            return JobProgress("failed", error=f"{error}; ask for it again")

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        found = [self.find(path.parent.name) for path in self.folder.glob("*/job.json")]
        return sorted((job for job in found if job), key=lambda job: -job.queued)

    def cancel(self, name: str) -> None:
        """Stop a job; what it has kept so far stays."""
        with self._lock:
            job = self.find(name)
            if job is None or not job.open:
                return
            self._kill(job)
            self._write(name, JobProgress("cancelled"))

    def pump(self) -> None:
        """Start the job that has waited longest, if none runs; training does not hold others up.

        Of two servers over one folder the first does this for both.
        """
        with self._lock:
            jobs = sorted((job for job in self.all() if job.open), key=lambda job: job.queued)
            waiting = any(job.progress.state == "waiting" for job in jobs)
            if not waiting or self._stopping.is_set() or not self._first():
                return
            busy = any(job.progress.state == "running" and job.kind != "train" for job in jobs)
            for job in jobs:
                if job.progress.state == "waiting" and (job.kind == "train" or not busy):
                    self._start(job)
                    busy = busy or job.kind != "train"

    def keep_going(self) -> threading.Thread:
        """Look after the queue in a thread until `stop`."""

        def work() -> None:
            while not self._stopping.wait(0.5):
                with suppress(InputError, OSError):  # the disk is full, a folder has gone: it is tried again
                    self.pump()

        thread = threading.Thread(target=work, daemon=True, name="jobs")
        thread.start()
        return thread

    def stop(self) -> None:
        """The server ends: training goes on by itself, other work waits for the next start."""
        self._stopping.set()
        with self._lock:
            for name in list(self._workers):
                job = self.find(name)
                if job and job.progress.state == "running" and job.kind != "train":
                    self._kill(job)
                    self._write(name, JobProgress())
            if self._held is not None:
                self._held.close()
                self._held = None

    def kill(self) -> None:
        """End the workers that `stop` would end, at once and without a word; their jobs wait for the next start."""
        for name, worker in list(self._workers.items()):
            if worker.poll() is None and read_job(self.folder / name)[0]["kind"] != "train":
                os.killpg(worker.pid, signal.SIGKILL)

    def _first(self) -> bool:
        """Whether this is the server that starts workers: whoever comes first, until it stops."""
        if self._held is None:
            stack = ExitStack()
            try:
                stack.enter_context(alone(self.folder, "another server starts the workers", patience=0.0))
            except InputError:  # or the folder may not be written
                return False
            self._held = stack
        return True

    def _start(self, job: Job) -> None:
        path = self.folder / job.id
        self._write(job.id, JobProgress("running", label="start"))
        with open(path / "log.txt", "wb") as log:
            self._workers[job.id] = subprocess.Popen(
                # -P: nothing in the folder where the server was started may stand for a module.
                [sys.executable, "-P", "-m", WORKER, str(path), str(self.root), *(["--trust"] if self.trust else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _checked(self, job: Job) -> Job:
        if job.progress.state != "running":
            return job
        worker = self._workers.get(job.id)
        silent = time.time() - os.stat(self.folder / job.id / "progress.json").st_mtime
        dead = worker.poll() is not None if worker else silent > _SILENT
        if not dead:
            return job
        # It may have ended well between our reading and our asking.
        now = self._progress(job.id)
        if now.state == "running":
            now = JobProgress("failed", error=self._last_words(job.id, worker))
            self._write(job.id, now)
        return Job(job.id, job.kind, job.about, job.queued, now)

    def _last_words(self, name: str, worker: subprocess.Popen[bytes] | None) -> str:
        """Why a worker died without a word of its own."""
        log = self.folder / name / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        code = f"exit code {worker.returncode}" if worker else "no sign of life"
        return f"the worker died ({code}){': ' + last[:300] if last else ''}"

    def _kill(self, job: Job) -> None:
        worker = self._workers.get(job.id)
        pid = worker.pid if worker else self._proven(job)
        if not pid:
            return
        try:
            os.killpg(pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            return
        if worker:
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(pid, signal.SIGKILL)
                worker.wait(5)

    def _proven(self, job: Job) -> int:
        """The number of the worker of an earlier server; 0 unless the system says that it is one."""
        try:
            words = Path(f"/proc/{job.progress.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended, or this system has no such folder
            return 0
        ours = (WORKER.encode(), os.fsencode(self.folder / job.id))
        return job.progress.pid if all(word in words for word in ours) else 0

    def _write(self, name: str, progress: JobProgress) -> None:
        write_json(self.folder / name / "progress.json", asdict(progress))


def read_job(path: Path) -> tuple[JobRecord, bool]:
    """What a job's folder says is wanted, and whether this machine was asked for it.

    Raises:
        InputError: it is damaged.
    """
    job: JobRecord = _record(path / "job.json", JobRecord)
    named = path.name == job_id(job["kind"], job["about"])
    return job, named and is_ours(job.get("signature", ""), path.parent, path.name, job["kind"], job["about"])


def _record(path: Path, kind: Any) -> Any:
    """A short JSON file of that type; a damaged one, and one that is missing, is one sentence."""
    try:
        value = parse_json(read_bytes(path, _MOST))
        check(value, kind)
    except (Unreadable, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return value


def job_id(kind: str, about: Mapping[str, Any]) -> str:
    """The same for the same wish."""
    return hashlib.sha256(json.dumps([kind, dict(about)], sort_keys=True).encode()).hexdigest()[:16]
