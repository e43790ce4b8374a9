"""All kinds of bad files through audit, train, faces, predict and upload: named, within memory, none ends the rest.

    python benchmarks/bad_files.py                       # everything; some minutes
    python benchmarks/bad_files.py audit upload          # some of it

Two classes of noise with every kind of `tests/data/bad_kinds.py` among them. Each way is a process of its own that is
watched: the most memory of it and of each of its workers, how long it was at work, what it printed. For `predict` and
`upload` each kind is asked for by itself. Prints one line a way, then what was not as it should be.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "data"))

from bad_kinds import CONTENTS, KINDS, may_decode, put_all, seen_as  # noqa: E402 - the folder has to be known first
from odd_files import noise, packed  # noqa: E402

GOOD, SECONDS, MOST_MB, UPLOAD = 30, 900, 1500, 20_000_000
NETWORK = """
from torch import nn


def make(num_classes=2, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
    )
"""
PREDICT = """
import json, sys, time
from cutaway.errors import InputError
from cutaway.scope import Scope

scope = Scope(sys.argv[1])
for name in json.load(open(sys.argv[2])):
    start, said = time.monotonic(), ""
    try:
        scope.predict([name])
    except InputError as error:
        said = str(error)
    print(json.dumps([name, said, time.monotonic() - start]), flush=True)
"""


@dataclass
class Watch:
    """A process that is watched: its end, its seconds, and the most MB that any of its processes had."""

    words: list[str]
    cwd: Path
    code: int | None = None
    seconds: float = 0.0
    peak: dict[int, int] = field(default_factory=dict)
    out: str = ""
    err: str = ""

    def run(self) -> Watch:
        start = time.monotonic()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(self.words, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            while (code := process.poll()) is None and time.monotonic() - start < SECONDS:
                self.look(process.pid)
                time.sleep(0.02)
            if code is None:
                process.kill()
                process.wait()
            self.code, self.seconds = code, time.monotonic() - start
            for file, name in ((out, "out"), (err, "err")):
                file.seek(0)
                setattr(self, name, file.read())
        return self

    def look(self, pid: int) -> None:
        """The high-water mark of a process and of all below it."""
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            children = [Path(task, "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:  # it has ended
            return
        if "VmHWM:" in status:
            self.peak[pid] = int(status.partition("VmHWM:")[2].split()[0]) // 1024
        for child in " ".join(children).split():
            self.look(int(child))


@dataclass
class Outcome:
    """What became of every kind in one way: a reason, or "" for pixels, or None if nothing was said of it."""

    way: str
    said: dict[str, str | None]
    watch: Watch
    slowest: tuple[float, str] = (0.0, "")

    def report(self) -> list[str]:
        """Print a line; what was not as it should be."""
        bad = [name for name in self.said if not may_decode(name)]
        named = [name for name in bad if self.said[name]]
        odd = [name for name, said in self.said.items() if may_decode(name) and said is not None]
        silent = [f"{self.way}: nothing said of {seen_as(name)}" for name in self.said if self.said[name] is None]
        taken = [f"{self.way}: {seen_as(name)} was taken for an image" for name in bad if self.said[name] == ""]
        peak, watch = max(self.watch.peak.values(), default=0), self.watch
        traces = (watch.out + watch.err).count("Traceback")
        hung = watch.code is None
        print(
            f"{self.way:8} {len(self.said)} kinds: {len(named)} of {len(bad)} bad named, {len(odd)} odd told; "
            f"peak {peak:,} MB a process, {watch.seconds:.0f} s, {'hung' if hung else 'no hang'}, {traces} tracebacks"
            + (f"; slowest {self.slowest[0]:.1f} s ({seen_as(self.slowest[1])})" if self.slowest[1] else ""),
            flush=True,
        )
        wrong = [*silent, *taken]
        if hung or traces or watch.code not in (0, None) or peak > MOST_MB:
            wrong.append(f"{self.way}: code {watch.code}, peak {peak} MB, {traces} tracebacks: {watch.err[-600:]}")
        return wrong


def cutaway(*words: object) -> list[str]:
    return [sys.executable, "-m", "cutaway", *map(str, words)]


def by_file(told: dict[str, str]) -> dict[str, str | None]:
    """Of every kind what was told of its file; one that is only odd and was not told of is an image."""
    return {name: told.get(f"1-a/{seen_as(name)}", "" if may_decode(name) else None) for name in KINDS}


def audit(home: Path) -> Outcome:
    watch = Watch(cutaway("audit", "photos", "--json"), home).run()
    told = json.loads(watch.out)["quarantine"] if watch.code == 0 else []
    return Outcome("audit", by_file({item["file"]: item["reason"] for item in told}), watch)


def train(home: Path) -> Outcome:
    options = ("--max-bad", "1", "--epochs", "1", "--size", "32", "--run", "small", "--set", "precision=fp32")
    watch = Watch(cutaway("train", "photos", "--model", "small.py:make", *options), home).run()
    record = home / "runs" / "small" / "run.json"
    told = json.loads(record.read_text())["data"]["quarantine"] if record.is_file() else []
    return Outcome("train", by_file({item["file"]: item["reason"] for item in told}), watch)


def faces(home: Path) -> Outcome:
    watch = Watch(cutaway("faces", "photos", "faces", "--json"), home).run()
    photographs = json.loads(watch.out)["photographs"] if watch.code == 0 else []
    told = {one["file"]: one["reason"] or (one["outcome"] if one["outcome"] == "nobody" else "") for one in photographs}
    bad = {one["file"] for one in photographs if one["outcome"] == "unreadable"}
    found = {file: said if file in bad else "" for file, said in told.items()}
    return Outcome("faces", by_file(found), watch)


def predict(home: Path) -> Outcome:
    paths = {name: str(home / "photos" / "1-a" / name) for name in KINDS}
    (home / "names.json").write_text(json.dumps(list(paths.values())))
    (home / "predict.py").write_text(PREDICT)
    watch = Watch([sys.executable, "predict.py", "runs/small", "names.json"], home).run()
    rows = [json.loads(line) for line in watch.out.splitlines()]
    said = {row[0]: row for row in rows}
    slowest = max(((row[2], Path(row[0]).name) for row in rows), default=(0.0, ""))
    # A path goes past the listing, so a whole image under an odd name is one.
    found = {name: said[path][1] if path in said else None for name, path in paths.items() if not _whole(name)}
    return Outcome("predict", found, watch, slowest)


def _whole(name: str) -> bool:
    return name.endswith(("\ufffd.png", "\udcff.png", "line\nbreak.png", "tab\t.png", "return\r.png"))


def upload(home: Path) -> Outcome:
    watch = Watch(cutaway("serve", "runs", "--port", "0"), home)
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as err:
        server = subprocess.Popen(watch.words, cwd=home, stdout=subprocess.PIPE, stderr=err, text=True)
        assert server.stdout is not None
        host = server.stdout.readline().strip().rstrip("/").rpartition("/")[2]
        done = threading.Event()
        watcher = threading.Thread(target=lambda: [watch.look(server.pid) or done.wait(0.02) for _ in _until(done)])
        watcher.start()
        said, slowest = {}, (0.0, "")
        for name, make in CONTENTS.items():
            if len(content := make()) < UPLOAD:
                before = time.monotonic()
                said[name] = bring(host, content)
                slowest = max(slowest, (time.monotonic() - before, name))
        done.set()
        watcher.join()
        watch.code = 0 if server.poll() is None else server.poll()
        server.terminate()
        server.wait(20)
        err.seek(0)
        watch.err, watch.seconds = err.read(), time.monotonic() - start
    return Outcome("upload", said, watch, slowest)


def _until(done: threading.Event) -> Iterator[None]:
    while not done.is_set():
        yield


def bring(host: str, content: bytes) -> str | None:
    """The sentence of a refused upload, "" for one that was taken, None for anything else."""
    start = '--X\r\nContent-Disposition: form-data; name="back"\r\n\r\n/\r\n--X\r\nContent-Disposition: '
    head = f'{start}form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        kind = {"Content-Type": "multipart/form-data; boundary=X"}
        connection.request("POST", "/upload", head + content + b"\r\n--X--\r\n", kind)
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()
    if answer.status == 303:
        return ""
    return text if 400 <= answer.status < 500 and "cannot be read" in text else None


WAYS: dict[str, Callable[[Path], Outcome]] = {
    "audit": audit,
    "train": train,
    "faces": faces,
    "predict": predict,
    "upload": upload,
}


def prepare(home: Path) -> None:
    for label, name in enumerate(("1-a", "2-b")):
        (home / "photos" / name).mkdir(parents=True)
        for number in range(GOOD):
            content = packed(noise(48, 48, seed=1000 * label + number), "PNG")
            (home / "photos" / name / f"good-{number}.png").write_bytes(content)
    put_all(home / "photos" / "1-a")
    (home / "small.py").write_text(NETWORK)
    (home / "runs").mkdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", default=list(WAYS), help=f"some of {', '.join(WAYS)}")
    arguments = parser.parse_args()
    wrong: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["CUTAWAY_CACHE"] = str(home / "cache")
        prepare(home)
        print(f"{len(KINDS)} kinds, {sum(not may_decode(name) for name in KINDS)} of them no image whatever one does")
        for way in arguments.ways:
            wrong += WAYS[way](home).report()
    print("\n".join(wrong) or "all as it should be")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
