"""A crash leaves the old file or the new one; a full or read-only disk is one sentence."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cutaway.errors import InputError
from cutaway.files import (
    atomic,
    explain_disk_errors,
    read_json,
    remove_leftovers_of,
    write_bytes,
    write_json,
    write_text,
    write_with,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_folders_come_into_being(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "text", "红\n")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "红\n".encode()
    assert names(tmp_path / "a" / "b") == ["text"]
    assert stat.S_IMODE((tmp_path / "a" / "b" / "text").stat().st_mode) == 0o644


def test_writers_of_other_libraries(tmp_path: Path) -> None:
    write_with(tmp_path / "file", lambda file: file.write(b"abc"))
    assert (tmp_path / "file").read_bytes() == b"abc"


def test_until_the_block_ends_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError("stopped"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def half() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_disk_that_fails_at_any_call_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(InputError, match=r"cannot write .*file: the disk is full; free some space"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *a, call=call, real=real: (calls.append(call), real(*a))[1])
    write_bytes(tmp_path / "file", b"new")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk(number: int) -> None:
    with pytest.raises(InputError, match=r"cannot write x/y: the disk is full"), explain_disk_errors(Path("x/y")):
        raise OSError(number, "full")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_disk(number: int) -> None:
    with pytest.raises(InputError, match=r"cannot write x/y: not permitted"), explain_disk_errors(Path("x/y")):
        raise OSError(number, "no")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="broken"), explain_disk_errors(Path("x")):
        raise OSError(errno.EIO, "broken")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="not permitted"):
        write_bytes(tmp_path / "locked" / "file", b"")


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    value = {"name": "红", "numbers": [1, 0.1, None, True]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert "红" in (tmp_path / "value.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_word_for_it(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"loss": value})
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(InputError, match=r"value\.json is damaged: it is not valid JSON"):
        read_json(tmp_path / "value.json")


def test_what_killed_writers_of_one_file_left_is_removed_and_nothing_of_the_users(tmp_path: Path) -> None:
    for name in (".a[1].png.abcd1234.tmp", ".b.png.abcd1234.tmp", ".mine.tmp", "a[1].png.abcd1234.tmp"):
        (tmp_path / name).touch()
    with atomic(tmp_path / "a[1].png") as file:
        remove_leftovers_of(tmp_path / "a[1].png")  # what is being written stays
        file.write(b"whole")
    left = [".b.png.abcd1234.tmp", ".mine.tmp", "a[1].png", "a[1].png.abcd1234.tmp"]
    assert names(tmp_path) == left
    assert (tmp_path / "a[1].png").read_bytes() == b"whole"
