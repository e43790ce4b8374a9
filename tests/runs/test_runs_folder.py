"""The run folder: its records, and what torn and damaged ones do."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.runs import SCHEMA_VERSION, RunFolder, append_lines, read_lines, truncate

INFO = {"status": "training", "data": {"name": "形状"}}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "runs" / "one-1")
    made.create(INFO)
    return made


def test_the_layout_is_the_contract(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    places = {
        "run.json": folder.run_json,
        "metrics.jsonl": folder.metrics,
        "vitals.jsonl": folder.vitals,
        "checkpoints/epoch-0007.safetensors": folder.weights(7),
        "checkpoints/epoch-12345.safetensors": folder.weights(12345),
        "checkpoints/state.safetensors": folder.state,
        "checkpoints/state.previous.safetensors": folder.previous_state,
        "snapshots/0007": folder.snapshot(7),
        "evaluation-val.json": folder.evaluation("val"),
        "index.html": folder.page,
    }
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in places.items()} == {n: n for n in places}


def test_what_is_created_is_read_again(folder: RunFolder) -> None:
    assert folder.info() == {"schema_version": SCHEMA_VERSION, **INFO}
    assert "形状" in folder.run_json.read_text(encoding="utf-8")
    folder.update(status="finished", best=3)
    assert folder.info() == {"schema_version": SCHEMA_VERSION, **INFO, "status": "finished", "best": 3}


def test_a_folder_that_exists_is_not_overwritten(folder: RunFolder) -> None:
    before = folder.run_json.read_bytes()
    with pytest.raises(InputError, match=r"one-1 exists already; choose another --run or resume it"):
        folder.create({"status": "other"})
    assert folder.run_json.read_bytes() == before


@pytest.mark.parametrize(("number", "words"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "the disk is full")])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=rf"cannot write .*here.*{words}"):
        RunFolder(tmp_path / "here").create(INFO)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"is not a run folder: it has no run.json; `cutaway runs` lists the runs"),
        ("{", r"run.json is damaged: it is not valid JSON"),
        ("[1]", r"schema_version is missing"),
        ('{"status": "finished"}', r"schema_version is missing"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), rf"reads up to {SCHEMA_VERSION}; update Cutaway"),
    ],
)
def test_a_record_that_is_none(tmp_path: Path, content: str | None, said: str) -> None:
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.run_json.write_text(content)
    with pytest.raises(InputError, match=said):
        folder.info()


def test_lines_are_appended_and_their_length_told(folder: RunFolder) -> None:
    first = append_lines(folder.metrics, [{"epoch": 1, "name": "红"}])
    second = append_lines(folder.metrics, [{"epoch": 2}, {"epoch": 3}])
    assert (first, second) == (len('{"epoch": 1, "name": "红"}\n'.encode()), folder.metrics.stat().st_size)
    assert [line["epoch"] for line in read_lines(folder.metrics)] == [1, 2, 3]
    assert append_lines(folder.metrics, []) == second
    truncate(folder.metrics, first)
    assert list(read_lines(folder.metrics)) == [{"epoch": 1, "name": "红"}]


def test_a_number_that_json_has_no_word_for_is_refused(folder: RunFolder) -> None:
    append_lines(folder.metrics, [{"loss": 1.0}])
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_lines(folder.metrics, [{"loss": 0.5}, {"loss": math.nan}])
    assert list(read_lines(folder.metrics)) == [{"loss": 1.0}]


@pytest.mark.parametrize("kept", range(1, 20))
def test_a_torn_last_line_is_left_out_wherever_it_tore(folder: RunFolder, kept: int) -> None:
    whole = append_lines(folder.metrics, [{"epoch": 1}])
    append_lines(folder.metrics, [{"name": "红红红红红"}])
    truncate(folder.metrics, whole + kept)
    assert list(read_lines(folder.metrics)) == [{"epoch": 1}]


@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe", b"zero"])
def test_a_damaged_line_elsewhere_is_named(folder: RunFolder, damage: bytes) -> None:
    folder.metrics.write_bytes(b'{"epoch": 1}\n' + damage + b'\n{"epoch": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged in line 2"):
        list(read_lines(folder.metrics))


def test_empty_and_missing_files(folder: RunFolder) -> None:
    assert list(read_lines(folder.metrics)) == []
    truncate(folder.metrics, 0)
    folder.metrics.write_bytes(b"\n\n")
    assert list(read_lines(folder.metrics)) == []


def test_truncating_never_lengthens(folder: RunFolder) -> None:
    length = append_lines(folder.metrics, [{"epoch": 1}])
    truncate(folder.metrics, length + 100)
    assert folder.metrics.stat().st_size == length
