"""The floor plan as a test: imports point down, and the front door is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cutaway

ROOT = Path(cutaway.__file__).parent
# From the ground up; rooms on one line are neighbours that may not know each other, unless NEIGHBOURS says so.
FLOORS = [
    ("plain", "version"),
    ("errors", "files", "restoring", "showing", "signals", "words"),
    ("computing",),
    ("runs", "pictures"),
    ("data",),
    ("models", "lenses", "care"),
    ("training", "scope"),
    ("doctor",),
    ("views",),
    ("pages",),
    ("report", "web"),
    ("demo",),
    ("cli",),
    ("__main__",),
]
NEIGHBOURS = {("files", "errors")}
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
NO_TORCH = (
    "errors",
    "files",
    "plain",
    "showing",
    "signals",
    "version",
    "words",
    "runs",
    "pictures",
    "views",
    "pages",
    "report",
    "web",
)
PUBLIC = [
    "Dataset",
    "InputError",
    "Model",
    "Run",
    "Scope",
    "compare",
    "diagnose",
    "evaluate",
    "load_data",
    "load_model",
    "open_run",
    "resume",
    "train",
]


def sources() -> Iterator[tuple[str, Path]]:
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, anywhere in it, relative to nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_arrows_point_down(room: str, path: Path) -> None:
    assert room in LEVEL, f"{room} has no floor; add it to FLOORS and to docs/architecture.md"
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "cutaway" or len(parts) == 1 or parts[1] in (room, "__version__"):
            continue
        below = LEVEL[parts[1]] < LEVEL[room]
        assert below or (room, parts[1]) in NEIGHBOURS, f"{path.relative_to(ROOT)} imports {module}, which is not below"


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_rooms_without_torch(room: str, path: Path) -> None:
    if room in NO_TORCH:
        assert not [module for module in imports(path) if module.split(".")[0] in ("torch", "torchvision")]


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_nothing_is_unpickled(room: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not {"joblib", "dill", "cloudpickle"} & set(imports(path))
    # The name of pickle's exception may be caught where torch's restricted loader raises it.
    assert not re.search(r"\bimport pickle|\bpickle\.\w", text)
    assert set(re.findall(r"from pickle import (.+)", text)) <= {"UnpicklingError"}
    assert "allow_pickle=True" not in text
    for call in re.findall(r"torch\.load\([^)]*\)", text):
        assert "weights_only=True" in call


def test_every_room_is_in_the_floor_plan() -> None:
    plan = (ROOT.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in {room for room, _ in sources()} - {"__main__"}:
        assert f"`{room}/`" in plan or f"`{room}.py`" in plan, room


@pytest.mark.parametrize(
    "command", ["import cutaway", "import cutaway.cli.app, cutaway.cli.training, cutaway.cli.looking"]
)
def test_the_front_door_is_cheap(command: str) -> None:
    heavy = "{'torch', 'matplotlib', 'plotly', 'numpy', 'PIL'}"
    check = f"{command}; import sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_public_names() -> None:
    assert sorted(cutaway.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(cutaway, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cutaway.nothing
