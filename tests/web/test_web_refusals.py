"""What the server refuses, each with a clear word, and it goes on."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from serving import Server, start_server

SAYS = {
    "/runs/nobody": "there is no run folder ",
    "/runs/one/e9": "epoch 9",
    "/runs/one/e3/layers/conv9": "layer &#39;conv9&#39;",
    "/runs/one/e3/layers/7": "layer &#39;7&#39;",
    "/runs/one/e3/layers/3/c12": "no channel 12; they are numbered 0 to 11",
    "/runs/one/e3/layers/1?lens=kernels": "",
    "/runs/one/e3/images/test:99999": "there is no image test:99999",
    "/runs/one/e3/images/cat": "names no image",
    "/runs/one/e3/walk?image=upload:0123456789abcdef": "no longer kept",
    "/models/net.py:evil": "model &#39;net.py:evil&#39;",
    "/compare?run=one&run=two&run=one": "tick two runs",
    "/compare/one/nobody": "there is no run folder ",
    "/nowhere": "",
}


@pytest.mark.parametrize("path", SAYS)
def test_what_is_not_there_is_one_sentence(path: str, server: Server) -> None:
    answer = server.ask(path)
    assert answer.status in ((200,) if "lens=" in path else (400, 404))
    assert SAYS[path] in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", [path for path in SAYS if "lens=" not in path])
def test_a_chinese_page_says_it_in_chinese(path: str, server: Server) -> None:
    answer = server.ask(f"{path}{'&' if '?' in path else '?'}lang=zh")
    (told,) = re.findall('<ul class="notes"><li>(.*?)</li>', answer.text)
    assert re.search("[\u4e00-\u9fff]", told)
    assert not re.search("[a-z]+ [a-z]+ [a-z]+", told)


def test_a_refusal_without_a_page_is_chinese_too(server: Server) -> None:
    headers = {"Origin": "https://evil.example", "Accept-Language": "zh-CN"}
    assert server.ask("/runs/one/e3/images/test:0", "POST", headers=headers).text == "拒绝来自其他网站页面的请求"
    answer = server.ask("/", headers={"Host": "evil.example", "Accept-Language": "zh-CN"})
    assert answer.text.startswith("该服务器只应答 127.0.0.1:")


@pytest.mark.parametrize(
    "path", ["/runs/..", "/runs/../../etc", "/runs/%2e%2e", "/runs/..%2f..%2fetc", "/static/..%2fapp.py", "/runs//etc"]
)
def test_nothing_outside_the_folder_is_served(path: str, server: Server) -> None:
    assert server.ask(path).status in (400, 404)


def test_a_link_out_of_the_folder_is_no_run(server: Server, tmp_path: Path) -> None:
    shutil.copytree(server.folder / "one", tmp_path / "elsewhere")
    (server.folder / "sly").symlink_to(tmp_path / "elsewhere")
    try:
        assert server.ask("/runs/sly").status == 404
        assert "sly" not in server.ask("/").text
    finally:
        (server.folder / "sly").unlink()


def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    assert server.ask("/", headers={"Host": "evil.example"}).status in (400, 403, 421)


def test_a_form_of_another_site_is_refused(server: Server) -> None:
    path = "/runs/one/e3/images/test:0"
    assert server.ask(path, "POST", headers={"Origin": "https://evil.example"}).status == 403
    assert server.ask(path, "POST", headers={"Origin": "null"}).status == 403


def test_every_answer_has_the_strict_policy(server: Server) -> None:
    for path in ("/", "/nowhere", "/static/page.js", "/runs/one/e3/layers/3"):
        policy = server.ask(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_an_image_that_cannot_be_decoded(server: Server) -> None:
    answer = server.bring(b"this is no image", "/runs/one/e3/walk")
    assert answer.status in (400, 404)
    assert "the image cannot be read" in answer.text


def test_an_upload_that_is_too_large(server: Server) -> None:
    answer = server.bring(b"\0" * 21_000_000, "/runs/one/e3/walk")
    assert answer.status == 413
    assert server.ask("/").status == 200


def test_an_upload_leads_back_only_to_this_server(server: Server) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    assert server.bring(buffer.getvalue(), "//evil.example/").status == 400
    assert server.bring(buffer.getvalue(), "https://evil.example/").status == 400
    good = server.bring(buffer.getvalue(), "/runs/one/e3/walk")
    assert (good.status, good.headers["location"][:31]) == (303, "/runs/one/e3/walk?image=upload:")


def test_a_damaged_run_is_named_and_the_others_are_shown(server: Server) -> None:
    path = server.folder / "broken"
    path.mkdir()
    (path / "run.json").write_text('{"schema_version": 1, "data": ')
    try:
        page = server.ask("/").text
        assert "cannot be read" in page
        assert ">one</a>" in page
        assert server.ask("/runs/broken").status == 404
    finally:
        shutil.rmtree(path)


def test_damaged_weights_are_one_sentence(server: Server) -> None:
    path = server.folder / "torn"
    shutil.copytree(server.folder / "one", path)
    try:
        weights = path / "checkpoints" / "epoch-0002.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
        answer = server.ask("/runs/torn/e2/layers/0")
        assert answer.status == 404
        assert "epoch-0002.safetensors" in answer.text
        assert server.ask("/runs/torn/e3/layers/0").status == 200
    finally:
        shutil.rmtree(path)


def test_a_folder_without_runs_says_how_to_make_one(home: Path, tmp_path: Path) -> None:

    empty = start_server(home, tmp_path)
    try:
        text = empty.ask("/").text
        assert "There is no run in" in text
        assert f"cutaway demo --runs {tmp_path}" in text
    finally:
        empty.process.terminate()
        empty.process.wait(10)


def test_a_port_in_use_is_one_sentence(server: Server) -> None:
    port = server.address.rsplit(":", 1)[1]
    words = [sys.executable, "-m", "cutaway", "serve", str(server.folder), "--port", port]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        f"port {port} is in use by another program; choose another with --port, or --port 0 for any"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"P6 99999 99999 255\n", "more than 178,956,970 pixels"),
        (b"P6 13000 13000 255\n" + bytes(100), "would take 1.35 GB to decode, more than the 0.70 GB that are allowed"),
        (b"", "the file is empty"),
    ],
)
def test_an_upload_that_would_take_too_much_is_refused_in_a_sentence(server: Server, content: bytes, said: str) -> None:
    answer = server.bring(content, "/runs/one/e3/walk")
    assert answer.status in (400, 404)
    assert f"the image cannot be read: {said}" in answer.text
