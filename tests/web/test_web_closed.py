"""What a run's pages show when its network is a stranger's code: everything that needs no network, and why no more."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from cutaway import Scope, evaluate, load_data
from cutaway.doctor import diagnose
from cutaway.errors import InputError
from cutaway.runs import Run
from cutaway.runs.sealed import read_sealed_json, write_sealed_json
from cutaway.scope.atlas import make_atlas
from cutaway.web import kept, tasks
from cutaway.web.app import create_app
from cutaway.web.site import Site
from cutaway.web.subject import Subject
from hostile_runs import KINDS, KNOWN, trained_here

HOST = {"host": "127.0.0.1:80"}
PAGES = ("", "/e1", "/e1/layers/0", "/e1/layers/0/c1", "/e1/images", "/e1/images/test:0", "/e1/walk", "/layers/0")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything in it that a page can show."""
    folder = tmp_path_factory.mktemp("mine")
    run = trained_here(folder)
    evaluate(run.folder.path)
    diagnose(run)
    make_atlas(Scope(str(run.folder.path)), load_data(folder / "photos"), steps=2)
    return run


def visitor(folder: Path, trust: bool = False) -> TestClient:
    return TestClient(create_app(Site(folder, trust=trust), 80), base_url="http://127.0.0.1:80")


@pytest.fixture
def elsewhere(mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of runs on another machine."""
    monkeypatch.setenv("CUTAWAY_HOME", str(tmp_path / "home"))
    shutil.copytree(mine.folder.path, tmp_path / "runs" / "gift")
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("language", "why"), [("en", "this machine has not trained with"), ("zh", "本机没有用这段代码训练过")]
)
def test_what_needs_no_network_is_shown(elsewhere: Path, language: str, why: str) -> None:
    visit = visitor(elsewhere)

    def text(page: str) -> str:
        found = visit.get(f"/runs/gift{page}", params={"lang": language}, headers=HOST)
        assert found.status_code == 200
        return found.text

    run = text("")
    assert why in run
    assert 'class="confusion' in run
    layer, unit = text("/e1/layers/0"), text("/e1/layers/0/c1")
    for page in (layer, unit):
        assert why in page
        assert "--trust" in page
    assert "Conv2d" in layer
    assert "4" in layer
    assert 'class="patches' in unit or "patches" in unit
    assert visit.get("/runs/gift/e1/layers/0/exemplars.png", headers=HOST).content[:4] in (b"\x89PNG", b"RIFF")


def change(folder: Path, section: str, **values: object) -> None:
    """Other words in a run's record, and a seal that fits."""
    found, _ = read_sealed_json(folder / "run.json")
    found[section] |= values
    write_sealed_json(folder / "run.json", found)


@pytest.mark.parametrize("data_here", [True, False])
def test_what_was_kept_needs_no_network(elsewhere: Path, mine: Run, data_here: bool) -> None:
    site = Site(elsewhere, trust=True)
    subject = Subject.of_run(site, site.run("gift"), 1)
    data = subject.dataset()
    assert data is not None
    labels = np.asarray(data.splits["test"].labels)
    arrays = {"labels": labels, "predicted": 1 - labels, "probability": np.full(len(labels), 0.75, np.float32)}
    kept.write_answers(subject, "test", arrays)
    if not data_here:
        change(elsewhere / "gift", "data", source="nowhere")
    visit = visitor(elsewhere)
    images = visit.get("/runs/gift/e1/images?split=test&true=0&given=1", headers=HOST)
    assert images.status_code == 200
    assert images.text.count("<li data-name=") == int((labels == 0).sum())
    assert ("<img" in images.text) == data_here
    assert "this machine has not trained with" in images.text
    assert ("nowhere, which is not here" in images.text) != data_here
    assert "data-upload" not in images.text
    image = visit.get("/runs/gift/e1/images/test:0", headers=HOST)
    assert image.status_code == (200 if data_here else 404)
    assert ("75.0%" in image.text) == data_here


def test_the_run_page_lists_the_layers_of_the_atlas(elsewhere: Path) -> None:
    page = visitor(elsewhere).get("/runs/gift", headers=HOST).text
    assert 'href="/runs/gift/e1/layers/0"' in page
    assert "this machine has not trained with" in page


def test_a_known_network_without_its_data(elsewhere: Path) -> None:
    change(elsewhere / "gift", "data", source="nowhere")
    visit = visitor(elsewhere, trust=True)
    for page in ("", "/e1/layers/0", "/e1/layers/0?lens=kernels", "/e1/layers/0/c1", "/e1/images", "/e1/walk"):
        answer = visit.get(f"/runs/gift{page}", headers=HOST)
        assert answer.status_code == 200, page
        assert page == "" or "nowhere, which is not here; put the folder there" in answer.text, page
    assert visit.get("/compare/gift@1/gift@1", headers=HOST).status_code == 200


def test_damaged_weights_take_the_rest_of_the_run_page_not_with_them(elsewhere: Path) -> None:
    path = elsewhere / "gift" / "checkpoints" / "epoch-0001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    answer = visitor(elsewhere, trust=True).get("/runs/gift", headers=HOST)
    assert answer.status_code == 200
    assert "epoch-0001.safetensors is damaged" in answer.text
    assert 'class="confusion' in answer.text


def test_whoever_starts_the_server_may_trust_its_runs(elsewhere: Path) -> None:
    found = visitor(elsewhere, trust=True).get("/runs/gift/e1/layers/0", headers=HOST)
    assert "this machine has not trained with" not in found.text
    assert found.status_code == 200


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in KNOWN])
def test_no_page_runs_anything(mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    make: Callable[[Run, Path, Path], Path] = KINDS[kind]
    make(mine, tmp_path, tmp_path / "mark")
    visit = visitor(tmp_path / "runs")
    codes = {page: visit.get(f"/runs/gift{page}", headers=HOST).status_code for page in PAGES}
    codes["start"] = visit.get("/", headers=HOST).status_code
    codes["comparison"] = visit.get("/compare?run=gift@1&run=gift", headers=HOST).status_code
    assert not (tmp_path / "mark").exists()
    assert set(codes.values()) <= {200, 404}
    assert codes["start"] == codes[""] == 200 or kind == "options"


def test_a_training_that_begins_with_such_a_run_says_how(elsewhere: Path, mine: Run) -> None:
    about = {"data": mine.info["data"]["source"], "model": str(elsewhere / "gift"), "recipe": {"epochs": 1}}
    with pytest.raises(InputError, match=r"has not trained with; look at it, then start `cutaway serve .* --trust`"):
        tasks.train({**about, "name": "new"}, Site(elsewhere), lambda *_: None)
    assert tasks.train({**about, "name": "new"}, Site(elsewhere, trust=True), lambda *_: None) == "new"
