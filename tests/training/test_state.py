from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutaway.errors import InputError
from cutaway.files import remove_leftovers
from cutaway.runs import RunFolder
from cutaway.training.state import Position, State, load_state, save_state
from whole_records import whole_info


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create(whole_info())
    return run


def state(step: int) -> State:
    tensors = {
        "network/weight": torch.full((2, 3), float(step)),
        "network/steps": torch.tensor(step),
        "optimizer/weight|exp_avg": torch.arange(6.0).reshape(2, 3),
        "average/half": torch.ones(3, dtype=torch.bfloat16),
    }
    return State(Position(step=step, loss_sum=0.1 + step, best_loss=1.5), tensors)


def damage(path: Path, offset: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def test_round_trip(folder: RunFolder) -> None:
    save_state(folder, state(4))
    found, problems = load_state(folder)
    assert problems == []
    assert found.progress == state(4).progress
    for name, value in state(4).tensors.items():
        assert torch.equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype
    assert set(found.part("network")) == {"weight", "steps"}


def test_layout_in_memory_is_no_part_of_the_state(folder: RunFolder) -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    save_state(folder, State(Position(), {"network/w": weight}))
    assert torch.equal(load_state(folder)[0].tensors["network/w"], weight)


def test_two_are_kept_and_the_newest_is_taken(folder: RunFolder) -> None:
    for step in (1, 2, 3):
        save_state(folder, state(step))
    assert load_state(folder)[0].progress.step == 3
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "state.previous.safetensors",
        "state.safetensors",
    ]


@pytest.mark.parametrize("offset", [-3, 3, 40, 200])
def test_a_damaged_one_is_named_and_the_previous_used(folder: RunFolder, offset: int) -> None:
    save_state(folder, state(1))
    save_state(folder, state(2))
    damage(folder.state, offset)
    found, problems = load_state(folder)
    assert found.progress.step == 1
    assert len(problems) == 1
    assert "state.safetensors is damaged" in problems[0]
    assert "using state.previous.safetensors" in problems[0]


def test_a_torn_file_counts_as_damaged(folder: RunFolder) -> None:
    save_state(folder, state(1))
    save_state(folder, state(2))
    folder.state.write_bytes(folder.state.read_bytes()[:100])
    assert load_state(folder)[0].progress.step == 1


def test_killed_between_the_two_renames(folder: RunFolder) -> None:
    save_state(folder, state(1))
    folder.state.rename(folder.previous_state)
    assert load_state(folder)[0].progress.step == 1


def test_both_damaged(folder: RunFolder) -> None:
    save_state(folder, state(1))
    save_state(folder, state(2))
    damage(folder.state)
    damage(folder.previous_state)
    with pytest.raises(InputError, match=r"no state of .* can be read: .*damaged.*damaged.*start a new run"):
        load_state(folder)


def test_none_at_all(folder: RunFolder) -> None:
    with pytest.raises(InputError, match="has no saved state"):
        load_state(folder)


def test_a_failed_write_leaves_the_old_state(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(folder, state(1))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*: the disk is full"):
        save_state(folder, state(2))
    monkeypatch.undo()
    assert load_state(folder)[0].progress.step == 1
    assert not list(folder.checkpoints.glob(".*"))


def test_leftovers_of_a_killed_process_are_removed(folder: RunFolder) -> None:
    folder.checkpoints.mkdir()
    left = folder.checkpoints / ".state.safetensors.abc123.tmp"
    left.write_bytes(b"half")
    remove_leftovers(folder.path)
    assert not left.exists()
