"""Scenes in which a message is heard and the way out that it names is taken."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cutaway.training import Interrupted

QUICK = ("--epochs", 1, "--set", "precision=fp32", "--batch-size", 16)


@dataclass(frozen=True)
class Place:
    """Where a scene plays: a stage that nobody may change, and an empty folder to work in."""

    cutaway: Callable[..., Any]
    stage: Path
    run: Path
    tiny: str
    patch: pytest.MonkeyPatch

    def refused(self, *words: object, code: int = 2) -> str:
        """The last line of a command that is refused."""
        told = self.cutaway(*words)
        assert told.code == code, told
        assert "Traceback" not in told.err
        return str(told.err.splitlines()[-1])

    def works(self, *words: object) -> Any:
        """A command that is done."""
        told = self.cutaway(*words)
        assert told.code == 0, told.err
        return told

    def stopped(self, *words: object) -> Any:
        """A training that is stopped before its first step."""

        def stop(session: Any, watch: Any, stop: Any) -> None:
            raise Interrupted(session.folder.path)

        with self.patch.context() as patch:
            patch.setattr("cutaway.training.runner.fit", stop)
            return self.cutaway(*words)

    def train(self, *words: object) -> tuple[object, ...]:
        """The words of a quick training."""
        return ("train", self.stage / "colours", "-m", self.tiny, *QUICK, *words)

    def copy(self) -> Path:
        """A run that may be changed."""
        return Path(shutil.copytree(self.run, "runs/copy"))


Scene = Callable[[Place], None]
SCENES: dict[str, Scene] = {}


def says(*snippets: str) -> Callable[[Scene], Scene]:
    """This scene tries the ways out of the sentences that hold these words."""

    def note(scene: Scene) -> Scene:
        SCENES.update(dict.fromkeys(snippets, scene))
        return scene

    return note


def commands(line: str) -> list[list[str]]:
    """The commands between backticks."""
    import shlex

    return [shlex.split(found)[1:] for found in re.findall(r"`(cutaway [^`]+)`", line)]
