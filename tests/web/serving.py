"""A server to ask, and what a browser's tab did."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    text: str
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Server:
    """A server that runs, and its folder of runs."""

    address: str
    folder: Path
    process: subprocess.Popen[str]

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; redirects are not followed."""
        host = urlsplit(self.address).netloc
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request(method, path, body, dict(headers or {}))
        found = connection.getresponse()
        content = found.read()
        connection.close()
        return Answer(found.status, content.decode("utf-8", "replace"), dict(found.getheaders()), content)

    def bring(self, content: bytes, back: str) -> Answer:
        """Upload an image as the form does."""
        start = f'--X\r\nContent-Disposition: form-data; name="back"\r\n\r\n{back}\r\n--X\r\nContent-Disposition: '
        head = f'{start}form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=X"}
        return self.ask("/upload", "POST", head + content + b"\r\n--X--\r\n", kind)


@dataclass(frozen=True)
class Tab:
    """A browser's page, and what it did that no page may do."""

    page: Any
    wrong: list[str]


def start_server(home: Path, runs: Path) -> Server:
    """A server over `runs`, on a port of its own."""
    words = [sys.executable, "-m", "cutaway", "serve", str(runs), "--port", "0"]
    model = ["--model", f"{home}/tiny.py:make", "--data", str(home / "photos")]
    environment = {**os.environ, "CUTAWAY_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}
    process = subprocess.Popen([*words, *model], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return Server(process.stdout.readline().strip().rstrip("/"), runs, process)


def change_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
