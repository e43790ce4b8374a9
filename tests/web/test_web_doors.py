"""Whatever stands in an address, a form or a header is answered with a page or one sentence: no 500, no hang."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import Server
from starlette.routing import Route
from starlette.testclient import TestClient

from cutaway.web.app import _routes, create_app
from cutaway.web.jobs import Jobs
from cutaway.web.site import Named, Site

GOOD = {
    "run": "one",
    "epoch": "3",
    "model": "tiny.py:make",
    "layer": "3",
    "channel": "2",
    "lens": "kernels",
    "image": "test:0",
    "job": "0" * 16,
    "name": "page.js",
    "a": "one@3",
    "b": "two@3",
    "rest": "layers/3",
}
BAD = {
    "nul": "a\0b",
    "256": "a" * 256,
    "5000": "a" * 5000,
    "5000 digits": "9" * 5000,
    "20 digits": "9" * 20,
    "superscript": "²",
    "arabic": "٣٣٣٣",
    "infinite": "inf",
    "1e400": "1e400",
    "negative": "-1",
    "above": "..",
    "slash": "../one",
    "escape": "\x1b]0;x\x07",
    "no utf-8": "\udcff",
}
ROUTES = sorted({(route.path, method) for route in _routes() if isinstance(route, Route) for method in route.methods})
PLACES = [
    (path, method, found[1])
    for path, method in ROUTES
    if method != "HEAD"
    for found in re.finditer(r"{(\w+)(?::\w+)?}", path)
]
QUERIES = {
    "/": ("lang",),
    "/runs/one/e3": ("lang",),
    "/runs/one/e3/layers/3": ("image", "lens", "sort", "scale"),
    "/runs/one/e3/layers/3/maps.png": ("image", "scale", "v"),
    "/runs/one/e3/layers/3/maps.npy": ("image",),
    "/runs/one/e3/layers/3/c2": ("image",),
    "/runs/one/e3/images": ("split", "true", "given", "from"),
    "/runs/one/e3/walk": ("image",),
    "/compare": ("run",),
    "/compare/one@3/two@3": ("image", "layer", "other"),
    "/runs/one/layers/3": ("image",),
}


@pytest.fixture(scope="module")
def visit(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A browser before the two runs; what it asks for stays in a copy of them."""
    folder = tmp_path_factory.mktemp("doors") / "runs"
    for name in ("one", "two"):
        shutil.copytree(home / "runs" / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(home / "cache"))
        site = Site(folder, {"tiny.py:make": Named(f"{home}/tiny.py:make", data=str(home / "photos"))})
        yield TestClient(create_app(site, 8777), base_url="http://127.0.0.1:8777", follow_redirects=False)


def quoted(text: str) -> str:
    # The client itself would resolve "..".
    return quote(text, safe="", errors="surrogateescape").replace("..", "%2E%2E")


def filled(path: str, **changes: str) -> str:
    """A route with good values in it, and `changes`."""
    values = GOOD | changes
    return re.sub(r"{(\w+)(?::\w+)?}", lambda place: quoted(values[place[1]]), path)


def sentence_of(text: str) -> str:
    """What a page that refuses says."""
    found = re.search(r'<ul class="notes"><li>(.*?)</li>', text, re.DOTALL)
    assert found, text[-500:]
    return html.unescape(found[1])


@pytest.mark.parametrize(("path", "method", "place"), PLACES)
def test_a_wrong_part_of_an_address_is_one_sentence(path: str, method: str, place: str, visit: TestClient) -> None:
    for kind, bad in BAD.items():
        answer = visit.request(method, filled(path, **{place: bad}))
        assert 400 <= answer.status_code < 500, kind
        sentence = sentence_of(answer.text)
        assert 10 < len(sentence) < 1000, kind
        assert not re.search("[\x00-\x1f]", sentence), kind


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, keys in QUERIES.items() for key in keys])
def test_a_wrong_wish_is_a_page_or_one_sentence(path: str, key: str, visit: TestClient) -> None:
    for kind, bad in BAD.items():
        answer = visit.get(f"{path}?{key}={quoted(bad)}")
        assert answer.status_code < 500, kind
        assert answer.status_code < 400 or sentence_of(answer.text), kind


@pytest.mark.parametrize("field", ["data", "model", "epochs", "name"])
def test_a_wrong_field_of_a_form(field: str, visit: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "_start", lambda jobs, job: None)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for name, bad in BAD.items():
        sent = {"data": "nothing-there", "model": "resnet18", "epochs": "1", "name": "mine", field: bad}
        body = "&".join(f"{key}={quoted(value)}" for key, value in sent.items())
        answer = visit.post("/train", content=body, headers=kind)
        assert answer.status_code == 400 or (answer.status_code == 303 and field != "epochs"), name
        assert answer.status_code == 303 or sentence_of(answer.text), name
        assert visit.get("/train").status_code == 200, name


@pytest.mark.parametrize("back", ["a\0b", "//evil", "/\\evil", "\x1b", "http://evil", "/runs/a%23b", "a" * 5000])
def test_an_upload_without_a_file_goes_nowhere(back: str, visit: TestClient) -> None:
    assert visit.post("/upload", data={"back": back}).status_code == 400
    assert visit.post(f"/jobs/{'0' * 16}/cancel?back={quoted(back)}").status_code == 404


@pytest.mark.parametrize("length", ["²", "-1", "1e400", "9" * 5000, "x"])
def test_a_wrong_length_of_a_body(length: str, visit: TestClient) -> None:
    answer = visit.get("/", headers={"Content-Length": length.encode()})  # type: ignore[dict-item]  # as bytes
    assert answer.status_code < 500


def test_a_forwarded_port_says_the_way_out(visit: TestClient) -> None:
    answer = visit.get("/", headers={"Host": "127.0.0.1:9000"})
    assert answer.status_code == 421
    assert "ssh -L 8777:127.0.0.1:8777" in answer.text
    assert "--port" in answer.text


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a%2Fb", "a b&c", "名字", "<b>"])
def test_every_link_of_a_run_of_any_name_leads_somewhere(name: str, server: Server) -> None:
    shutil.copytree(server.folder / "one", server.folder / name)
    try:
        start = f"/runs/{quote(name, safe='=')}"
        assert f'href="{start}?lang=zh"' in server.ask("/?lang=zh").text
        for page in ("", "/e2", "/e2/layers/3", "/e2/layers/3/c2", "/e2/images", "/e2/walk"):
            answer = server.ask(f"{start}{page}?lang=zh")
            assert answer.status == 200, page
            links = [html.unescape(link) for link in re.findall(r'(?:href|src)="(/.*?)"', answer.text)]
            assert {link.partition("?")[0] for link in links if link.startswith("/runs/")} >= {start}
            for link in sorted({link for link in links if link.startswith(start)})[:8]:
                assert server.ask(link).status == 200, link
        assert server.ask(f"{start}/layers/3").headers["location"] == f"{start}/e3/layers/3"
    finally:
        shutil.rmtree(server.folder / name)


def test_a_folder_whose_name_is_no_text_hides_no_other(visit: TestClient) -> None:
    folder = visit.app.state.site.folder  # type: ignore[attr-defined]  # its application is ours
    odd = Path(f"{folder}/\udcff")
    shutil.copytree(folder / "one", odd)
    (folder / "loop").symlink_to("loop")
    try:
        page = visit.get("/")
        assert page.status_code == 200
        assert ">\\udcff</a>" in page.text
        assert ">two</a>" in page.text
        assert visit.get("/runs/loop").status_code == visit.get("/runs/%FF").status_code == 404
    finally:
        shutil.rmtree(odd)
        (folder / "loop").unlink()
