"""What somebody else's folder says is printed, and commands no terminal."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from cutaway.cli import main
from cutaway.cli.table import table
from cutaway.cli.terminal import TerminalWatcher
from cutaway.cli.training import _print_evaluation, parse_shape
from cutaway.doctor.commands import train_again
from cutaway.doctor.record import read_record
from cutaway.errors import InputError, unknown
from cutaway.plain import visible
from cutaway.runs import RunFolder, append_lines, open_run
from cutaway.runs.sealed import write_sealed_json
from whole_records import epoch_line, whole_evaluation, whole_info

# Sets the window's title; beeps; clears; the same as one byte; goes back over the line; turns what follows around.
FOREIGN = ("\x1b]0;title\x07", "\x07", "\x1b[2J", "\x9b2J", "\rgone", "\u202edrow", "\x7f", "\x00")
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
BAD = "".join(FOREIGN)


@pytest.fixture
def gift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run in which every name is foreign."""
    monkeypatch.chdir(tmp_path)
    info = whole_info(status="finished", problem=f"problem {BAD}", notes=[f"note {BAD}"])
    names = [f"cat {BAD}", "dog\nrun  best\nforged  99%", "bird"]
    info["data"] |= {"name": f"data {BAD}", "source": f"data {BAD}", "classes": names, "notes": [f"split {BAD}"]}
    info["model"] |= {"spec": f"net{BAD}.py:make", "classes": names}
    folder = RunFolder(tmp_path / "runs" / f"gift {BAD.replace(chr(0), '')}")
    folder.create(info)
    append_lines(folder.metrics, [epoch_line(1), epoch_line(2)])
    write_sealed_json(folder.evaluation("test"), whole_evaluation(names))
    return folder


def said(capfd: pytest.CaptureFixture[str]) -> str:
    found = capfd.readouterr()
    return found.out + found.err


@pytest.mark.parametrize(
    "words", [["runs"], ["runs", "--json"], ["doctor"], ["doctor", "--json"], ["evaluate"], ["summary"], ["report"]]
)
def test_a_verb_commands_no_terminal(words: list[str], gift: RunFolder, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, *([] if words[0] == "runs" else [str(gift.path)])])
    text = said(capfd)
    assert not COMMANDS.search(text)
    assert "\\u001b]0;title\\u0007" in text or words == ["doctor"]
    if words == ["runs", "--json"]:
        assert json.loads(text.splitlines()[0])[0]["run"] == gift.path.name


def test_what_is_measured_commands_no_terminal(gift: RunFolder, capfd: pytest.CaptureFixture[str]) -> None:
    from cutaway.cli.streams import plain_stdout

    result: dict[str, Any] = whole_evaluation([f"cat {BAD}", "dog\nforged"], run=f"gift\n{BAD}")
    with plain_stdout():
        _print_evaluation(result)
    text = said(capfd)
    assert not COMMANDS.search(text)
    assert "\nforged" not in text
    assert "dog\\u000aforged" in text


def test_bars_notes_and_errors_command_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    watch = TerminalWatcher()
    watch.note(f"note {BAD}")
    watch.quarantined(f"file {BAD}", f"reason {BAD}")
    assert not COMMANDS.search(said(capfd))
    for error in (InputError(f"{BAD} is no run"), unknown("layer", BAD, [f"conv{BAD}"])):
        assert not COMMANDS.search(str(error))


def test_letters_of_any_language_stay_as_they_are() -> None:
    for text in ("形状-1", "Größe\t3\n", "نص عربي", "🐈‍⬛", "a\u200db"):
        assert visible(text) == text
    assert table([{"name": "猫\n狗"}]).splitlines()[1] == "猫\\u000a狗"


@pytest.mark.parametrize("source", ["x; touch ran", "$(touch ran)", "`touch ran`", "a\ntouch ran\n", "--help", "-m"])
def test_a_command_that_is_shown_takes_foreign_words_as_words(source: str, tmp_path: Path) -> None:
    info = whole_info(status="finished")
    info["data"]["source"], info["model"]["spec"] = source, f"{source}.py:make"
    folder = RunFolder(tmp_path / "gift")
    folder.create(info)
    append_lines(folder.metrics, [epoch_line(1)])
    command = train_again(read_record(open_run(folder.path)))
    place = f"./{source}" if source.startswith("-") else source
    assert shlex.split(command)[:5] == ["cutaway", "train", place, "--model", f"{source}.py:make"]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400", "²", "9" * 5000, "٣", "1.5"])
def test_a_number_of_a_recipe_that_is_none(value: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "shapes", "--model", "resnet18", "--set", f"epochs={value}"])
    assert ended.value.code == 2
    assert "epochs is " in said(capfd)


@pytest.mark.parametrize("shape", ["3x²x8", "3x8", f"3x{'9' * 5000}x8", "0x8x8", "3x-8x8", "3xinfx8", "\x1b"])
def test_a_shape_that_is_none(shape: str) -> None:
    with pytest.raises(InputError, match="expected channels x height x width"):
        parse_shape(shape)
