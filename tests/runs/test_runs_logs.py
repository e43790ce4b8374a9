"""The logs: what is appended is read again, what was damaged is noticed, and what is left is mended."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.runs import Run, RunFolder, append_lines
from cutaway.runs.logs import Log, mend, truncate
from whole_records import epoch_line, step_line, vital_line, whole_info


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "runs" / "one-1")
    made.create(whole_info())
    return made


def filled(folder: RunFolder, epochs: int = 3) -> Run:
    for epoch in range(1, epochs + 1):
        append_lines(folder.metrics, [step_line(epoch, 10 * epoch - 5), step_line(epoch, 10 * epoch)])
        append_lines(folder.metrics, [epoch_line(epoch, 0.2 * epoch)])
        append_lines(folder.vitals, [vital_line(epoch, layer) for layer in ("conv1", "层")])
    return Run(folder)


def test_lines_are_appended_and_their_length_told(folder: RunFolder) -> None:
    first = append_lines(folder.metrics, [step_line(1, 1)])
    second = append_lines(folder.metrics, [step_line(1, 2), epoch_line(1)])
    assert second == folder.metrics.stat().st_size
    assert Run(folder).metrics() == [step_line(1, 1), step_line(1, 2), epoch_line(1)]
    assert append_lines(folder.metrics, []) == second
    truncate(folder.metrics, first)
    assert Run(folder).metrics() == [step_line(1, 1)]
    truncate(folder.metrics, first + 100)
    assert folder.metrics.stat().st_size == first


def test_the_lines_of_epochs_are_found_without_the_others(folder: RunFolder) -> None:
    run = filled(folder)
    assert run.metrics("epoch") == [line for line in run.metrics() if line["kind"] == "epoch"]
    assert len(run.metrics("epoch")) == 3
    assert (len(run.metrics("step")), len(run.vitals()), run.checkups()) == (6, 6, [])


@pytest.mark.parametrize("first", [epoch_line(1), step_line(1, 1)])
def test_a_log_that_begins_with_an_epoch_or_ends_in_one(folder: RunFolder, first: dict[str, object]) -> None:
    append_lines(folder.metrics, [first, epoch_line(2)])
    epochs = [line["epoch"] for line in Run(folder).metrics("epoch")]
    assert epochs == ([1, 2] if first["kind"] == "epoch" else [2])


def test_a_number_that_json_has_no_word_for_is_refused(folder: RunFolder) -> None:
    append_lines(folder.metrics, [step_line(1, 1)])
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_lines(folder.metrics, [step_line(1, 2), step_line(1, 3, math.nan)])
    assert Run(folder).metrics() == [step_line(1, 1)]


def test_a_torn_last_line_is_left_out_wherever_it_tore(folder: RunFolder) -> None:
    whole = append_lines(folder.metrics, [step_line(1, 1)])
    length = append_lines(folder.metrics, [epoch_line(1)])
    content = folder.metrics.read_bytes()
    for kept in range(whole, length - 1):  # without its newline alone, the line is whole
        folder.metrics.write_bytes(content[:kept])
        assert Run(folder).metrics() == [step_line(1, 1)]
        assert Run(folder).metrics("epoch") == []


def test_every_flipped_bit_is_noticed(folder: RunFolder) -> None:
    run = filled(folder, epochs=1)
    folder.update(status="finished")
    content = folder.metrics.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        folder.metrics.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"metrics\.jsonl is damaged in line \d"):
            run.metrics()


@pytest.mark.parametrize("kind", [None, "epoch"])
def test_lines_that_are_gone_moved_or_of_another_log_are_noticed(folder: RunFolder, kind: str | None) -> None:
    run = filled(folder)
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    for wrong in (lines[1:], [*lines[:4], *lines[5:]], [lines[3], *lines[1:3], lines[0], *lines[4:]]):
        folder.metrics.write_bytes(b"".join(wrong))
        with pytest.raises(InputError, match=r"metrics\.jsonl is damaged in line \d+: its text does not match"):
            run.metrics(kind)


@pytest.mark.parametrize("kind", [None, "epoch"])
def test_two_logs_that_were_exchanged_are_noticed(folder: RunFolder, kind: str | None) -> None:
    run = filled(folder)
    metrics, vitals = folder.metrics.read_bytes(), folder.vitals.read_bytes()
    folder.metrics.write_bytes(vitals)
    folder.vitals.write_bytes(metrics)
    with pytest.raises(InputError, match="is damaged in line 1"):
        run.metrics(kind)
    with pytest.raises(InputError, match="is damaged in line 1"):
        run.vitals()


def test_the_log_of_another_run_is_none_of_ours(folder: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    other.create(whole_info())
    filled(other)
    folder.metrics.write_bytes(other.metrics.read_bytes())
    folder.vitals.write_bytes(other.vitals.read_bytes())
    for read in (Run(folder).metrics, Run(folder).vitals, lambda: Run(folder).best_epoch):
        with pytest.raises(InputError, match=r"is damaged in line \d"):
            read()


def test_a_log_that_lost_its_end_is_noticed_once_nobody_writes_it(folder: RunFolder) -> None:
    run = filled(folder)
    folder.update(status="finished")
    lines = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(b"".join(lines[:3]))
    with pytest.raises(InputError, match=r"metrics\.jsonl has lost its end: .*`cutaway resume .*one-1` mends it"):
        _ = run.best_epoch
    folder.vitals.unlink()
    with pytest.raises(InputError, match=r"vitals\.jsonl has lost its end: 0 of"):
        run.vitals()


def test_empty_and_missing_logs_of_a_run_that_begins(folder: RunFolder) -> None:
    assert Run(folder).metrics() == []
    truncate(folder.metrics, 0)
    folder.metrics.write_bytes(b"\n\n")
    assert Run(folder).metrics() == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"kind": "step"}', "'epoch' is missing"),
        ("{}", "'kind' is missing"),
        ("[]", "expected an object in each line"),
        ('{"kind": "epoch", "epoch": "1"}', r"expected a whole number, found '1'"),
    ],
)
def test_a_line_of_another_kind_in_a_log_without_checks(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(InputError, match=said):
        Log(path).lines()


def test_a_log_is_cut_back_to_the_state(folder: RunFolder) -> None:
    append_lines(folder.metrics, [step_line(1, 1)])
    length = append_lines(folder.metrics, [step_line(1, 2)])
    append_lines(folder.metrics, [step_line(1, 3)])
    assert mend(folder.log(folder.metrics), length) == (length, "")
    assert [line["step"] for line in Run(folder).metrics()] == [1, 2]


@pytest.mark.parametrize("damage", ["short", "torn", "flipped", "gone"])
def test_what_is_left_of_a_log_is_mended_and_said(folder: RunFolder, damage: str) -> None:
    run = filled(folder)
    content = folder.metrics.read_bytes()
    start = content.index(b"\n") + 20
    damaged = {
        "short": content[: len(content) // 2 - 9],
        "torn": content[:-7],
        "flipped": content[:start] + b"#" + content[start + 1 :],
        "gone": None,
    }[damage]
    folder.metrics.unlink() if damaged is None else folder.metrics.write_bytes(damaged)
    length, told = mend(folder.log(folder.metrics), len(content))
    assert length == folder.metrics.stat().st_size < len(content)
    assert "metrics.jsonl had lost or damaged lines" in told
    assert len(run.metrics()) == {"short": (damaged or b"").count(b"\n"), "torn": 8, "flipped": 8, "gone": 0}[damage]
    assert (folder.path / "metrics.damaged.jsonl").read_bytes() == (damaged or b"")
    append_lines(folder.metrics, [step_line(4, 40)])  # and it goes on behind
    assert run.metrics()[-1] == step_line(4, 40)
