"""The floor plan as a test: imports point down, and the front door is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import cutaway

ROOT = Path(cutaway.__file__).parent
# From the ground up; rooms on one line are neighbours that may not know each other, unless NEIGHBOURS says so.
FLOORS = [
    ("numerals", "plain", "progress", "version"),
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
    "numerals",
    "plain",
    "progress",
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
# Rooms whose modules run networks. A room without torch may name the types of their results for the type checker; to
# ask for one at run time is for the report and the pages alone, which ask the scope, and a training where one is begun.
NETWORKS = ("models", "lenses", "scope", "training", "doctor")
ASKING = {"report": {"scope"}, "web": {"scope", "training"}}
# What is still to be moved below, and must not become more.
STILL_ASKING = {
    "views/run.py": {"lenses", "models"},  # it builds the network again for the shapes of its layers
    "report/frozen.py": {"models"},  # whose code may run
    "web/site.py": {"models"},  # likewise
    "web/kept.py": {"lenses"},  # the names of the methods
    "web/subject.py": {"lenses"},  # a layer as a record of the atlas has it
    "web/train_pages.py": {"models"},  # the names of the built-in networks
}
# Who shows what an audit found is asked where torch has looked at the images already; all else loads none.
LOADING = {"views/audit.py", "views/faces.py", "report/audit.py", "report/faces.py"}
PUBLIC = [
    "Dataset",
    "Diverged",
    "InputError",
    "Interrupted",
    "Model",
    "Preprocessing",
    "Run",
    "Scope",
    "Watcher",
    "audit",
    "compare",
    "diagnose",
    "evaluate",
    "load_data",
    "load_model",
    "open_run",
    "resume",
    "train",
    "watch",
]


# The one module that may touch torch's private and fragile names, and what lies below it and so keeps its own.
WALL = "computing/torch_inside.py"
BELOW_THE_WALL = {"restoring.py": {"_buffers", "_parameters"}}
TORCHS = ("torch", "nn", "F", "Tensor", "torchvision")
FRAGILE = {
    *("_version", "_cdata", "_is_view", "_make_wrapper_subclass", "_schema", "overloadpacket", "next_functions"),
    *("_modules", "_parameters", "_buffers", "_orig_mod", "_orig_mod.", "set_fastpath_enabled"),
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_conv_forward"),
}


def sources() -> Iterator[tuple[str, Path]]:
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


MODULES = {
    ".".join(("cutaway", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def walk(tree: ast.AST, *, typing: bool = True, functions: bool = True) -> Iterator[ast.AST]:
    """The nodes of a module, without what only the type checker sees, or what runs when a function is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            continue
        if isinstance(node, ast.FunctionDef) and not functions:
            continue
        yield node
        yield from walk(node, typing=typing, functions=functions)


def imports(path: Path, **parts: bool) -> Iterator[str]:
    """Every module that `path` imports, anywhere in it, relative to nothing."""
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), **parts):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module or ""


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of those who reach one another."""
    reached = {start: reach(start, arrows) for start in arrows}
    groups = {tuple(sorted(one for one in reached[start] if start in reached[one])) for start in arrows}
    return [list(group) for group in sorted(groups) if group]


def reach(start: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    """Who can be reached from `start`, by one arrow or more."""
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(arrows.get(one, ()))
    return found


def loaded(module: str) -> set[str]:
    """What Python loads at once when it imports `module`: its own imports, and the packages that all of them lie in."""
    path = MODULES.get(module)
    own = set() if path is None else set(imports(path, typing=False, functions=False))
    for name in (module, *list(own)):
        parts = name.split(".")
        own |= {".".join(parts[:length]) for length in range(1, len(parts))}
    return own - {module}


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_arrows_point_down(room: str, path: Path) -> None:
    assert room in LEVEL, f"{room} has no floor; add it to FLOORS and to docs/architecture.md"
    for module in imports(path):
        parts = module.split(".")
        assert module != "cutaway", f"{path.relative_to(ROOT)} imports from the front door, where everything is above"
        if parts[0] != "cutaway" or parts[1] == room:
            continue
        below = LEVEL[parts[1]] < LEVEL[room]
        assert below or (room, parts[1]) in NEIGHBOURS, f"{path.relative_to(ROOT)} imports {module}, which is not below"


def test_no_two_modules_know_each_other() -> None:
    """Also inside a room, inside a function, and for the type checker alone."""
    arrows = {name: {one for one in imports(path) if one in MODULES} for name, path in MODULES.items()}
    del arrows["cutaway"]  # the front door, which loads what is asked for
    assert circles(arrows) == []


def test_a_circle_is_seen() -> None:
    assert circles({"a": "b", "b": "c", "c": "bd", "d": "", "e": "e"}) == [["b", "c"], ["e"]]


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_rooms_without_torch(room: str, path: Path) -> None:
    if room not in NO_TORCH:
        return
    place = path.relative_to(ROOT).as_posix()
    found = [module.split(".") for module in imports(path, typing=False)]
    assert not [module for module in imports(path) if module.split(".")[0] in ("torch", "torchvision")]
    asked = {parts[1] for parts in found if parts[0] == "cutaway" and parts[1] in NETWORKS}
    assert asked - ASKING.get(room, set()) == STILL_ASKING.get(place, set()), f"{place} runs networks"


@pytest.fixture(scope="module")
def loads() -> dict[str, set[str]]:
    known = {name: loaded(name) for name in MODULES}
    return {name: reach(name, known) for name in MODULES}


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_rooms_without_torch_do_not_load_it(room: str, path: Path, loads: dict[str, set[str]]) -> None:
    (name,) = [name for name, one in MODULES.items() if one == path]
    place = path.relative_to(ROOT).as_posix()
    if room in NO_TORCH:
        assert ("torch" in loads[name]) == (place in LOADING), f"{place} loads torch"


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


def insides(tree: ast.AST) -> Iterator[str]:
    """What of torch's private and fragile names this code uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TORCHS:
            names = [part for name in node.names for part in f"{node.module}.{name.name}".split(".")]
            yield from (name for name in names if name.startswith("_") or name == "weak")
        elif isinstance(node, ast.Import):
            names = [part for name in node.names if name.name.split(".")[0] in TORCHS for part in name.name.split(".")]
            yield from (name for name in names if name.startswith("_") or name == "weak")
        elif isinstance(node, ast.Attribute):
            chain = ast.unparse(node).split(".")
            private = chain[0] in TORCHS and node.attr.startswith("_") and not node.attr.endswith("__")
            if private or node.attr in FRAGILE or chain[:2] == ["torch", "ops"]:
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FRAGILE:
            yield node.value


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("torch._C.DisableTorchFunction()", {"_C"}),
        ("torch._foreach_lerp_([], [], 1)", {"_foreach_lerp_"}),
        ("from torch.utils._pytree import tree_leaves", {"_pytree"}),
        ("import torch.utils._pytree as tree", {"_pytree"}),
        ("from torch.utils.weak import WeakTensorKeyDictionary", {"weak"}),
        ("from torch.nn.modules.batchnorm import _NormBase", {"_NormBase"}),
        ("isinstance(module, nn.modules.conv._ConvNd)", {"_ConvNd"}),
        ("value.untyped_storage()._cdata", {"_cdata"}),
        ("torch.ops.aten.relu", {"aten", "ops", "relu"}),
        ("getattr(network, '_orig_mod', None)", {"_orig_mod"}),
        ("Tensor.__setitem__, torch.__version__, self._versions, F.relu", set()),
    ],
)
def test_the_insides_of_torch_are_seen(code: str, found: set[str]) -> None:
    assert set(insides(ast.parse(code))) == found


@pytest.mark.parametrize(("room", "path"), list(sources()), ids=lambda value: getattr(value, "name", value))
def test_torchs_insides_are_behind_one_wall(room: str, path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    found = set(insides(ast.parse(path.read_text(encoding="utf-8"))))
    if place != WALL:
        allowed = BELOW_THE_WALL.get(place, set())
        assert found <= allowed, f"{place} uses {found - allowed} of torch; reach it through {WALL}"


def test_every_room_is_in_the_floor_plan() -> None:
    plan = (ROOT.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in {room for room, _ in sources()} - {"__main__"}:
        assert f"`{room}/`" in plan or f"`{room}.py`" in plan, room


@pytest.mark.parametrize(
    "command", ["import cutaway", "import cutaway.cli.app, cutaway.cli.training, cutaway.cli.looking"]
)
def test_the_front_door_is_cheap(command: str) -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'reportlab'}"
    check = f"{command}; import sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_public_names() -> None:
    assert sorted(cutaway.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(cutaway, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cutaway.nothing
