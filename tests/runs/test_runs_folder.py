"""The run folder: its record, and what damaged ones say."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from cutaway.errors import InputError
from cutaway.runs import SCHEMA_VERSION, RunFolder, write_sealed_json
from whole_records import whole_info


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "runs" / "one-1")
    made.create(whole_info())
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
    first = folder.info()
    assert len(first["id"]) == 16
    assert first == {"schema_version": SCHEMA_VERSION, "id": first["id"], **whole_info()}
    assert "狗" in folder.run_json.read_text(encoding="utf-8")
    folder.metrics.write_text("{}\n")
    folder.update(status="finished")
    # Nobody writes the logs any more, so how long they are is part of the record.
    assert folder.info() == {**first, "status": "finished", "logs": {"metrics.jsonl": 3}}


def test_a_folder_that_exists_is_not_overwritten(folder: RunFolder) -> None:
    before = folder.run_json.read_bytes()
    with pytest.raises(InputError, match=r"one-1 exists already; choose another --run or resume it"):
        folder.create(whole_info(status="finished"))
    assert folder.run_json.read_bytes() == before


@pytest.mark.parametrize(("number", "words"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "the disk is full")])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=rf"cannot write .*here.*{words}"):
        RunFolder(tmp_path / "here").create(whole_info())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"is not a run folder: it has no run.json; `cutaway runs` lists the runs"),
        ("{", r"run.json is damaged: it is not valid JSON"),
        ("[1]", r"run.json is damaged: expected a JSON object, found list"),
        ('{"status": "finished"}', r"schema_version is missing"),
        ('{"schema_version": "1"}', r"schema_version is missing"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), rf"reads up to {SCHEMA_VERSION}; update Cutaway"),
        ('{"schema_version": 1}', r"is not a run's record: 'status' is missing"),
        ('{"schema_version": 2}', r"run.json is damaged: it has lost its seal"),
        ("[" * 100_000, r"run.json is damaged: it is not valid JSON \(it is nested too deeply\)"),
        ('{"schema_version": 1e400}', r"1e400 is no finite number"),
        ('{"schema_version": NaN}', r"NaN is no finite number"),
    ],
)
def test_a_record_that_is_none(tmp_path: Path, content: str | None, said: str) -> None:
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.run_json.write_text(content)
    with pytest.raises(InputError, match=said):
        folder.info()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in items for found in [(*path, key), *places(one, (*path, key))]]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy: Any = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def test_a_value_of_another_kind_is_named_wherever_it_stands(folder: RunFolder) -> None:
    """Also where the seal was made for it: a folder may come from anybody."""
    info = folder.info()
    silent = []
    for path in places(dict(info)):
        write_sealed_json(folder.run_json, changed(dict(info), path, {"other": []}))
        try:
            folder.info()
        except InputError as error:
            told = str(error)
        else:
            silent.append(path[-1])
            continue
        assert str(path[0]) in told
        assert "\n" not in told
    assert set(silent) == {"environment"}  # nothing of it has to be known


def test_a_changed_letter_breaks_the_seal(folder: RunFolder) -> None:
    content = folder.run_json.read_bytes()
    folder.run_json.write_bytes(content.replace(b'"epochs": 4', b'"epochs": 8'))
    with pytest.raises(InputError, match=r"run\.json is damaged: its content does not match its seal"):
        folder.info()
    folder.run_json.write_bytes(content.replace(b'"seal"', b'"sear"'))
    with pytest.raises(InputError, match=r"run\.json is damaged: it has lost its seal"):
        folder.info()


def test_a_folder_of_schema_1_has_no_seal_and_opens(folder: RunFolder) -> None:
    info = {key: value for key, value in folder.info().items() if key != "id"}
    folder.run_json.write_text(json.dumps({**info, "schema_version": 1}))
    assert folder.info()["status"] == "training"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("data", "shape"), [1, 6], r"data\.shape: expected channels, height and width, found 2 numbers"),
        (("model", "preprocessing", "std"), [0.0], r"preprocessing\.std: expected no zero"),
        (("model", "preprocessing", "mean"), [0.1, 0.2], r"a mean and std for each channel"),
        (("data", "options"), {"progress": "x"}, r"data\.options: 'progress' is none of channels, data_dir"),
        (("environment", "threads"), 0, r"environment\.threads: expected from 1 to 4096, found 0"),
        (("status",), "done", r"status: expected 'training' or .*found 'done'"),
        (("data", "splits", "val", "size"), True, r"data\.splits\.val\.size: expected a whole number, found true"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    folder: RunFolder, place: tuple[str, ...], value: Any, said: str
) -> None:
    write_sealed_json(folder.run_json, changed(dict(folder.info()), place, value))
    with pytest.raises(InputError, match=said):
        folder.info()
