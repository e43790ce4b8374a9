"""Seals: what was written is read, and whatever changed since is noticed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save, save_file

from cutaway.errors import InputError
from cutaway.runs.sealed import SEAL, header, read_sealed_json, seal, unbroken, write_sealed_json

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([7], np.int64),
    "层": np.zeros((0, 2), np.uint8),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.safetensors"
    path.write_bytes(seal(save(ARRAYS, {"kept": "红"}), {"epoch": "3"})[0])
    return path


def test_a_sealed_file_is_a_safetensors_file_as_any(file: Path) -> None:
    found = load(file.read_bytes())
    assert found.keys() == ARRAYS.keys()
    assert all((found[name] == ARRAYS[name]).all() and found[name].dtype == ARRAYS[name].dtype for name in found)
    with safe_open(str(file), "np") as opened:
        assert opened.metadata() == unbroken(file, needed=True) == header(file)
    assert {"epoch": "3", "kept": "红"}.items() <= header(file).items()


def test_the_seal_by_its_definition(file: Path) -> None:
    """The SHA-256 of the file with 64 zeros in place of the seal."""
    content, claimed = file.read_bytes(), header(file)[SEAL]
    assert content.count(claimed.encode()) == 1
    assert hashlib.sha256(content.replace(claimed.encode(), b"0" * 64)).hexdigest() == claimed
    assert seal(save(ARRAYS), {})[1] != claimed


def test_equal_content_gives_equal_bytes() -> None:
    about = {name: name * 3 for name in "qwertyuiop"}
    assert len({seal(save(ARRAYS, dict(reversed(about.items()))), about)[0] for _ in range(20)}) == 1


def test_sealing_again_keeps_what_is_known(file: Path) -> None:
    again, _ = seal(file.read_bytes(), {"more": "1"})
    file.write_bytes(again)
    assert {"epoch": "3", "kept": "红", "more": "1"}.items() <= unbroken(file, needed=True).items()


def test_every_flipped_bit_is_noticed(file: Path) -> None:
    content = file.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            file.unlink()
            file.write_bytes(bytes(damaged))
            with pytest.raises(InputError, match=r"arrays\.safetensors is damaged"):
                unbroken(file, needed=True)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, 200, -1])
def test_every_cut_is_noticed(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match="is damaged"):
        unbroken(file, needed=True)


def test_a_file_that_changes_after_it_was_compared_is_compared_again(file: Path) -> None:
    assert unbroken(file, needed=True)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match="its content does not match its seal"):
        unbroken(file, needed=True)


def test_a_file_without_a_seal(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(ARRAYS, path, {"epoch": "1"})
    assert unbroken(path, needed=False) == {"epoch": "1"}
    with pytest.raises(InputError, match="it has lost its seal"):
        unbroken(path, needed=True)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "text", "giant"])
def test_what_is_no_file_of_arrays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    makers = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "text": lambda: path.write_text("hello, this is a text"),
        "giant": lambda: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    }
    makers[kind]()
    for look in (header, lambda path: unbroken(path, needed=False)):
        with pytest.raises(InputError, match="is damaged"):
            look(path)


def test_a_json_record_with_its_seal(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    value = {"name": "形状", "numbers": [1, 2.5, None], "inner": {"b": 1, "a": 2}}
    write_sealed_json(path, value)
    assert read_sealed_json(path) == (value, True)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("2.5", "2.6"), encoding="utf-8")
    with pytest.raises(InputError, match="its content does not match its seal"):
        read_sealed_json(path)
    path.write_text(text.replace('"seal"', '"sail"'), encoding="utf-8")
    assert read_sealed_json(path)[1] is False
    path.write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        read_sealed_json(path)
