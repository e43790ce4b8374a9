"""Opening somebody else's run never runs code that nobody named and this machine does not know."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cutaway import Scope, compare, evaluate, load_model, resume, train
from cutaway.doctor import try_one_batch, try_remedies
from cutaway.errors import InputError
from cutaway.files import Unwritten
from cutaway.models.trust import Untrusted, permit
from cutaway.report import write_page, write_report
from cutaway.runs import Run
from cutaway.training import Watcher
from hostile_runs import CODE, KINDS, KNOWN, LAYERS, NO_CODE, trained_here, write_code
from whole_records import change_record


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained_here(tmp_path_factory.mktemp("mine"))


@pytest.fixture
def gift(mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Path, Path]]:
    """Makes a received run of a kind; the run, and the mark that its code would leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(kind: str) -> tuple[Path, Path]:
        return KINDS[kind](mine, tmp_path, tmp_path / "mark"), tmp_path / "mark"

    return make


WAYS: dict[str, Callable[[str], object]] = {
    "load_model": load_model,
    "Scope": Scope,
    "evaluate": evaluate,
    "resume": resume,
    "try_remedies": lambda run: try_remedies(run, steps=1, rounds=1),
    "try_one_batch": lambda run: try_one_batch(run, steps=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in KNOWN])
def test_nothing_of_it_runs(gift: Callable[[str], tuple[Path, Path]], kind: str, way: str) -> None:
    run, mark = gift(kind)
    if (
        kind in NO_CODE[:-2] + NO_CODE[-1:] and way == "try_remedies"
    ):  # a trial that cannot begin is one without a result
        assert all(trial.problem for trial in try_remedies(str(run), steps=1, rounds=1))
        return
    with pytest.raises(InputError) as told:
        WAYS[way](str(run))
    assert not mark.exists()
    assert "\n" not in str(told.value)
    assert kind in NO_CODE or "--trust" in str(told.value)


@pytest.mark.parametrize("kind", KNOWN)
def test_what_is_known_runs_and_nothing_beside_it(gift: Callable[[str], tuple[Path, Path]], kind: str) -> None:
    run, mark = gift(kind)
    network = load_model(str(run)).network
    assert network[0].out_channels == 4  # type: ignore[index, union-attr]  # a Sequential
    assert not mark.exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in KNOWN])
def test_pages_show_what_needs_no_network(gift: Callable[[str], tuple[Path, Path]], kind: str) -> None:
    run, mark = gift(kind)
    page, report = write_page(run), write_report(run)
    assert not mark.exists()
    assert "validation" in page.read_text("utf-8")
    assert "network was not opened" in report.read_text("utf-8")


def test_whoever_trusts_it_runs_it(gift: Callable[[str], tuple[Path, Path]]) -> None:
    run, mark = gift("beside")
    load_model(str(run), trust=True)
    assert mark.read_text() == "ran\n"


def test_another_factory_may_be_named(gift: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    run, mark = gift("beside")
    write_code(tmp_path / "own")
    load_model(str(run), trust=f"{tmp_path}/own/net.py:make")
    assert not mark.exists()


def test_ones_own_run_opens_without_a_question_wherever_its_code_is(mine: Run, tmp_path: Path) -> None:
    assert set(mine.info["model"]["code"]) == set(CODE)
    load_model(str(mine.folder.path))
    moved = shutil.copytree(mine.folder.path, tmp_path / "moved")
    shutil.copytree(Path(mine.info["model"]["spec"].rpartition(":")[0]).parent, tmp_path / "code")
    change_record(moved / "run.json", "model", "spec", to=f"{tmp_path}/code/net.py:make")
    load_model(str(moved))


def test_code_that_changed_since_is_not_gone_on_with_in_silence(tmp_path: Path) -> None:
    run = trained_here(tmp_path)
    path = run.folder.path
    layers = tmp_path / "code" / "layers.py"
    layers.write_text("WIDTH = 2 + 2\n")
    for way in (load_model, resume):
        with pytest.raises(
            InputError, match=r"layers\.py is not what .*mine was trained with: .* put the old file back"
        ):
            way(str(path))
    heard = Heard()
    resume(path, trust=True, watch=heard)
    assert any("goes on with other code than it was begun with" in note for note in heard.notes)
    resume(path)  # it was trained with, so it is known now
    layers.write_text(LAYERS)
    with pytest.raises(InputError, match="is not what"):
        load_model(str(path))


class Heard(Watcher):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def test_code_that_is_gone(tmp_path: Path) -> None:
    run = trained_here(tmp_path)
    shutil.rmtree(tmp_path / "code")
    with pytest.raises(
        InputError, match=r"net\.py:make, and there is no such file here; say where it is with --model FILE"
    ):
        load_model(str(run.folder.path))


def test_another_home_knows_nothing(mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"which is code that this machine has not trained with; look at it, then say"):
        load_model(str(mine.folder.path))


def test_libraries_need_no_question() -> None:
    for spec in ("resnet18", "torchvision:resnet18", "timm:resnet18"):
        assert permit(spec, {}, False, "a run").spec == spec


def test_each_network_gets_the_modules_beside_it(tmp_path: Path) -> None:
    for name, width in (("a", 3), ("b", 5)):
        write_code(tmp_path / name, {**CODE, "layers.py": f"WIDTH = {width}\n"})
    made = [load_model(f"{tmp_path}/{name}/net.py:make", shape=(3, 8, 8)) for name in ("a", "b", "a")]
    assert [model.network[0].out_channels for model in made] == [3, 5, 3]  # type: ignore[index, union-attr]


def test_packages_beside_a_factory(tmp_path: Path) -> None:
    """With and without an `__init__.py`, and relative imports in them; a virtual environment there is none of it."""
    code = {
        "net.py": "from torch import nn\nfrom parts import WIDTH\nfrom parts.inner.deep import DEEP\n"
        "from bare.one import ONE\n"
        "def make(): return nn.Sequential(nn.Conv2d(3, WIDTH + DEEP + ONE, 3), nn.Flatten(), nn.LazyLinear(10))\n",
        "parts/__init__.py": "from .width import WIDTH\n",
        "parts/width.py": "WIDTH = 1\n",
        "parts/inner/__init__.py": "",
        "parts/inner/deep.py": "from ..width import WIDTH\nDEEP = WIDTH + 1\n",
        "bare/one.py": "ONE = 1\n",
    }
    write_code(tmp_path, code)
    model = load_model(f"{tmp_path}/net.py:make", shape=(3, 8, 8))
    assert model.network[0].out_channels == 4  # type: ignore[index, union-attr]
    wanted = {"net.py", "parts/__init__.py", "parts/width.py", "parts/inner/__init__.py", "parts/inner/deep.py"}
    assert set(model.code) == {*wanted, "bare/one.py"}
    again = load_model(f"{tmp_path}/net.py:make", shape=(3, 8, 8), code=model.code)
    assert again.code == model.code
    (tmp_path / "bare" / "one.py").write_text("ONE = 7\n")
    with pytest.raises(InputError, match=r"one\.py is not what the network was trained with, and was not run"):
        load_model(f"{tmp_path}/net.py:make", shape=(3, 8, 8), code=model.code)
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_installed_factory_is_known_by_its_file() -> None:
    model = load_model("torchvision.models.resnet:resnet18", shape=(3, 32, 32))
    assert list(model.code) == ["installed:torchvision.models.resnet"]
    assert len(model.code["installed:torchvision.models.resnet"]) == 64


def test_a_record_from_before_code_was_kept(gift: Callable[[str], tuple[Path, Path]]) -> None:
    """Nobody knows what this machine trained with then, so nothing is claimed."""
    run, _ = gift("beside")
    with pytest.raises(Untrusted, match=r"and its record does not say what stood in that code; look at it, then say"):
        load_model(str(run))


def test_a_sibling_that_is_gone_is_named(tmp_path: Path) -> None:
    run = trained_here(tmp_path)
    (tmp_path / "code" / "layers.py").unlink()
    with pytest.raises(Untrusted, match=r"layers\.py, which .*mine was trained with, is not there; look at it"):
        load_model(str(run.folder.path))


def test_a_home_that_cannot_be_written_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")

    def full(*_: object) -> None:
        raise Unwritten(tmp_path / "home", full=True)

    monkeypatch.setattr("cutaway.models.trust.write_json", full)
    monkeypatch.setenv("CUTAWAY_HOME", str(tmp_path / "home"))
    write_code(tmp_path / "code")
    heard = Heard()
    recipe = {"epochs": 1, "batch_size": 32, "precision": "fp32"}
    run = train("shapes", f"{tmp_path}/code/net.py:make", recipe=recipe, runs=tmp_path / "runs", watch=heard)
    assert any("this run's own code will need --trust to be opened again" in note for note in heard.notes)
    with pytest.raises(Untrusted, match="has not trained with"):
        load_model(run.folder.path)


def test_weights_that_are_a_pickle_are_refused(mine: Run, tmp_path: Path) -> None:
    """Under the name of safetensors as well, in a run and beside a library's network."""

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "mark"), "w")

    run = shutil.copytree(mine.folder.path, tmp_path / "run")
    for path in (run / "checkpoints" / "epoch-0001.safetensors", tmp_path / "weights.safetensors"):
        torch.save({"weight": Hostile()}, path)
    with pytest.raises(InputError, match=r"epoch-0001\.safetensors is damaged"):
        load_model(run)
    with pytest.raises(InputError, match=r"weights\.safetensors are damaged or no safetensors file"):
        load_model("resnet18", weights=tmp_path / "weights.safetensors")
    assert not (tmp_path / "mark").exists()


def test_comparing_runs_by_name(gift: Callable[[str], tuple[Path, Path]], mine: Run) -> None:
    run, mark = gift("beside")
    data = mine.info["data"]["source"]
    with pytest.raises(Untrusted):
        compare(str(run), mine.folder.path, data, split="train")
    assert not mark.exists()
    compare(str(run), mine.folder.path, data, split="train", trust=True)
    assert mark.exists()
