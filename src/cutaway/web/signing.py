"""This machine's signature on the work that it is asked for, so that work found in somebody's folder does not start."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cutaway.errors import InputError
from cutaway.files import Unreadable, explain_disk_errors, read_bytes, user_folder

_BYTES = 32


def signature(folder: Path, name: str, kind: str, about: Mapping[str, Any]) -> str:
    """Of a job in the folder `folder`: 64 hexadecimal digits that only this user of this machine can make.

    Raises:
        InputError: the key can be neither read nor made.
    """
    text = json.dumps([str(folder.resolve()), name, kind, dict(about)], sort_keys=True)
    return hmac.new(_key(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_ours(claimed: str, folder: Path, name: str, kind: str, about: Mapping[str, Any]) -> bool:
    """Whether a job carries the signature that this machine gives it."""
    return hmac.compare_digest(claimed.encode(), signature(folder, name, kind, about).encode())


def _key() -> bytes:
    path = user_folder() / "jobs.key"
    try:
        found = read_bytes(path, _BYTES)
    except Unreadable:
        found = b""
    return found if len(found) == _BYTES else _made(path)


def _made(path: Path) -> bytes:
    """A new key, for this user's eyes alone; of two who make one at once, both take the first."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.with_name(f".jobs.{secrets.token_hex(8)}.tmp")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # somebody was quicker, or it is damaged, which is told below
                os.link(aside, path)  # unlike a rename it fails where there is one
        finally:
            aside.unlink(missing_ok=True)
    try:
        found = read_bytes(path, _BYTES)
    except Unreadable as error:
        raise InputError(f"{path}, this machine's key for jobs, cannot be read: {error}; remove it") from error
    if len(found) != _BYTES:
        raise InputError(f"{path}, this machine's key for jobs, is damaged; remove it, and a new one is made")
    return found
