"""Every way out that a message names is tried: the situation is built, the message heard, and the way taken.

The scenes (`ways_of_runs.py`, `ways_of_words.py`) know each sentence of the program that names a command, an option
or a variable; one that is new fails the first test until somebody has tried what it promises.
"""

from __future__ import annotations

import ast
import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ways_of_runs  # noqa: F401  # registers its scenes
import ways_of_words  # noqa: F401  # likewise
from ways import QUICK, SCENES, Place, Scene

import cutaway

SOURCE = Path(cutaway.__file__).parent
WAY = re.compile(r"cutaway [a-z]+\b|(?<![\w-])--[a-z][a-z-]+|CUTAWAY_\w+|pip install|command again|run it again")
SPEAKERS = ("InputError", "Unwritten", "alone", "complain")


# What would need a network, or has no command of its own to try.
NOT_TRIED = {
    "pip install": "it would download",
    "CUTAWAY_HOME": "a name",
}


def sentences() -> Iterator[tuple[str, str]]:
    """Where, and the text of, each sentence that names a way out; what is filled in is {}."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SPEAKERS:
                text = " ".join(filter(None, map(text_of, [*node.args, *(word.value for word in node.keywords)])))
                if WAY.search(text):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", text


def everything_said() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        yield from map(text_of, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def test_every_sentence_that_names_a_way_out_is_in_the_table() -> None:
    found = list(sentences())
    assert len(found) > 30
    known = [*SCENES, *NOT_TRIED]
    assert [place for place in found if not any(snippet in place[1] for snippet in known)] == []
    said = (SOURCE / "words" / "en.json").read_text(encoding="utf-8") + "".join(everything_said())
    assert [snippet for snippet in SCENES if snippet not in said] == []


@pytest.mark.parametrize("scene", list(dict.fromkeys(SCENES.values())), ids=lambda scene: scene.__name__)
def test_the_way_out_leads_out(
    cutaway: Callable[..., Any], stage: Path, run: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    scene(Place(cutaway, stage, run, tiny, monkeypatch))


def test_a_read_only_run_is_told_and_not_kept(
    cutaway: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only disk, which root needs to be shown like this; exit code 3."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for words, told_in in (
        (("evaluate", run), "95% interval"),
        (("doctor", run), ""),
        (("evaluate", run, "--json"), '"accuracy"'),
    ):
        with monkeypatch.context() as patch:

            def forbidden(*_: object, **__: object) -> None:
                raise OSError(errno.EROFS, "read-only")

            patch.setattr("tempfile.mkstemp", forbidden)
            told = cutaway(*words)
        assert told.code == 3
        assert told_in in told.out
        assert told.out
        assert f"cutaway: what was found is not kept in {run}: cannot write {run}/" in told.err
        assert "copy the run to where it may be written" in told.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    copied = shutil.copytree(run, "copy")  # the way out
    assert cutaway("evaluate", copied).code == 0


def test_a_page_that_cannot_be_written_does_not_hide_the_training(
    cutaway: Callable[..., Any], stage: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        from cutaway.files import explain_disk_errors

        with explain_disk_errors(Path("index.html")):
            raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("cutaway.report.write_page", full)
        told = cutaway("train", stage / "colours", "-m", tiny, *QUICK)
    assert told.code == 3
    assert "best epoch 1" in told.out
    assert "what was found is not kept" in told.err
    way = told.out.splitlines()[-1].removeprefix("next: cutaway ").split()
    assert cutaway(*way).code == 0
    assert Path("runs/colours-tiny-1/index.html").is_file()
