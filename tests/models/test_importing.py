"""Whose modules a network's code imports: its own, each noted; and of those that are known no other."""

from __future__ import annotations

import compileall
import importlib
import sys
import threading
from pathlib import Path

import pytest

from cutaway import load_model
from cutaway.errors import InputError
from cutaway.models import Model
from hostile_runs import write_code

SMALL = """
from torch import nn
def make(num_classes=10): return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.fixture(autouse=True)
def _own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def made(spec: str, code: dict[str, str] | None = None) -> Model:
    return load_model(spec, classes=2, shape=(3, 8, 8), code=code)


def width(model: Model) -> int:
    found: int = model.network[0].out_channels  # type: ignore[index, union-attr, assignment]  # a Sequential
    return found


def test_a_module_that_the_process_has_imported_is_read_anew_and_left_to_it(tmp_path: Path) -> None:
    """As in a notebook: what runs is what is hashed, not what was imported before the file was edited."""
    write_code(tmp_path, {"sizes.py": "WIDTH = 3\n", "ours.py": f"from sizes import WIDTH\n{SMALL}"})
    sys.path.insert(0, str(tmp_path))
    before = importlib.import_module("sizes"), importlib.import_module("ours")
    write_code(tmp_path, {"sizes.py": "WIDTH = 5\n"})
    model = made("ours:make")
    assert width(model) == 5
    assert set(model.code) == {"ours.py", "sizes.py"}
    assert (sys.modules["sizes"], sys.modules["ours"]) == before
    again = made("ours:make", model.code)
    assert again.code == model.code
    for name in ("sizes", "ours"):
        del sys.modules[name]


def test_what_is_installed_below_the_folder_is_not_its_own(tmp_path: Path) -> None:
    """A virtual environment lies below many a working folder."""
    packages = tmp_path / ".venv" / "site-packages"
    write_code(packages, {"bought/__init__.py": "", "bought/part.py": "WIDTH = 3\n", "single.py": ""})
    write_code(tmp_path, {"net.py": f"import single\nfrom bought.part import WIDTH\n{SMALL}"})
    sys.path.append(str(packages))
    model = made("net.py:make")
    assert set(model.code) == {"net.py"}
    assert width(made("net.py:make", model.code)) == 3
    for name in ("bought", "bought.part", "single"):
        del sys.modules[name]


@pytest.mark.parametrize(("way", "expected"), [("insert(0, {})", 5), ("append({})", 3)])
def test_a_folder_on_the_path_comes_where_it_was_put(tmp_path: Path, way: str, expected: int) -> None:
    """Before what is installed, or behind it."""
    write_code(tmp_path / "site", {"widths.py": "WIDTH = 3\n"})
    write_code(tmp_path / "more", {"widths.py": "WIDTH = 5\n", "extra.py": ""})
    folder = repr(str(tmp_path / "more"))
    start = f"import sys\nsys.path.{way.format(folder)}\nimport extra\nfrom widths import WIDTH\n"
    write_code(tmp_path / "code", {"net.py": start + SMALL})
    sys.path.append(str(tmp_path / "site"))
    model = made("code/net.py:make")
    assert width(model) == expected
    own = {"net.py", "../more/extra.py"}
    assert set(model.code) == (own | {"../more/widths.py"} if expected == 5 else own)
    assert width(made("code/net.py:make", model.code)) == expected
    assert str(tmp_path / "more") not in sys.path
    sys.modules.pop("widths", None)


def test_folders_without_init_inside_one_another(tmp_path: Path) -> None:
    write_code(tmp_path, {"net.py": f"from bare.inner.deep import WIDTH\n{SMALL}", "bare/inner/deep.py": "WIDTH = 3\n"})
    model = made("net.py:make")
    assert set(model.code) == {"net.py", "bare/inner/deep.py"}
    write_code(tmp_path, {"bare/inner/deep.py": "WIDTH = 4\n"})
    with pytest.raises(InputError, match=r"deep\.py is not what the network was trained with"):
        made("net.py:make", model.code)


def test_a_module_without_source_is_noted_and_never_run_unasked(tmp_path: Path) -> None:
    write_code(tmp_path, {"net.py": f"from closed import WIDTH\n{SMALL}", "closed.py": "WIDTH = 3\n"})
    compileall.compile_file(tmp_path / "closed.py", legacy=True, quiet=1)
    (tmp_path / "closed.py").unlink()
    model = made("net.py:make")
    assert set(model.code) == {"net.py", "closed.pyc"}
    with pytest.raises(InputError, match=r"net\.py imports .*closed\.pyc, which was not run when .* say --trust"):
        made("net.py:make", model.code)


def test_a_module_that_was_not_there_is_named(tmp_path: Path) -> None:
    """One that the code imports only here, and that would have to be run to go on."""
    write_code(tmp_path, {"net.py": f"WIDTH = 3\nimport os\nif 'HERE' in os.environ: import extra\n{SMALL}"})
    model = made("net.py:make")
    write_code(tmp_path, {"extra.py": ""})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE", "1")
        with pytest.raises(InputError, match=r"net\.py imports .*extra\.py, which was not run when it was trained"):
            made("net.py:make", model.code)
        assert set(made("net.py:make").code) == {"net.py", "extra.py"}


def test_a_factory_that_loads_another_network_keeps_its_own_modules(tmp_path: Path) -> None:
    write_code(tmp_path / "inner", {"net.py": f"from sizes import WIDTH\n{SMALL}", "sizes.py": "WIDTH = 7\n"})
    load = f"cutaway.load_model({str(tmp_path / 'inner' / 'net.py')!r} + ':make', shape=(3, 8, 8))"
    outer = f"import cutaway, sizes\nINNER = {load}\nfrom sizes import WIDTH\n{SMALL}"
    write_code(tmp_path / "outer", {"ours.py": outer, "sizes.py": "WIDTH = 3\n"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "outer")
        model = made("ours:make")
    assert width(model) == 3
    assert set(model.code) == {"ours.py", "sizes.py", "../inner/net.py", "../inner/sizes.py"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "outer")
        assert made("ours:make", model.code).code == model.code
        write_code(tmp_path / "inner", {"sizes.py": "WIDTH = 8\n"})
        with pytest.raises(InputError, match=r"sizes\.py is not what the network was trained with"):
            made("ours:make", model.code)


def test_networks_that_are_opened_at_once_do_not_mix(tmp_path: Path) -> None:
    for number in range(4):
        code = {"net.py": f"import time\ntime.sleep(0.02)\nfrom sizes import WIDTH\n{SMALL}"}
        write_code(tmp_path / str(number), {**code, "sizes.py": f"WIDTH = {number + 1}\n"})
    found: dict[int, int] = {}

    def load(number: int) -> None:
        found[number] = width(made(f"{number}/net.py:make"))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: 1, 1: 2, 2: 3, 3: 4}


def test_the_path_and_the_finders_are_put_back(tmp_path: Path) -> None:
    write_code(tmp_path, {"net.py": "import sys\nsys.path.insert(0, 'x')\nraise RuntimeError('no')\n"})
    before = list(sys.path), list(sys.meta_path)
    with pytest.raises(InputError, match="it raised RuntimeError: no"):
        made("net.py:make")
    assert (list(sys.path), list(sys.meta_path)) == before
