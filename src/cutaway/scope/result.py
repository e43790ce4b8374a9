"""What every lens gives back: values with their pictures, their certificate and one way to save them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save as to_safetensors
from torch import Tensor

from cutaway.files import remove_leftovers_of, write_bytes, write_json
from cutaway.lenses.certificate import Certificate
from cutaway.pictures import Picture
from cutaway.showing import Card, Shown, Table


class Result(Shown, ABC):
    """Base of the frozen dataclasses that `Subject` returns.

    A subclass is a dataclass with `repr=False` and a field `certificate`, and says which pictures show it and which
    arrays it holds.
    """

    certificate: Certificate

    @abstractmethod
    def pictures(self) -> dict[str, Picture]:
        """All its pictures by a name that can be a file's, the main one first."""

    @abstractmethod
    def arrays(self) -> dict[str, Tensor]:
        """The raw values behind the pictures, by name."""

    def picture(self) -> Picture:
        """The main picture."""
        return next(iter(self.pictures().values()))

    def __repr__(self) -> str:
        # That of a dataclass would be all its numbers.
        return f"{type(self).__name__}({self.certificate.line()})"

    def save(self, folder: str | Path) -> list[Path]:
        """Write pictures (PNG), `arrays.safetensors` and `certificate.json` into `folder`; the files, pictures first.

        Everything is drawn before the first file is written, and the certificate is written last: a folder that has
        one is whole.
        """
        folder = Path(folder)
        files = {folder / f"{file_name(name)}.png": picture.png() for name, picture in self.pictures().items()}
        # The layout in memory (channels last) is no part of the values, and safetensors refuses shared memory.
        arrays = {name: value.detach().cpu().contiguous().clone() for name, value in self.arrays().items()}
        files[folder / "arrays.safetensors"] = to_safetensors(arrays)
        certificate = json.loads(json.dumps(self.certificate.as_dict(), default=str))
        for path, content in files.items():
            remove_leftovers_of(path)
            write_bytes(path, content)
        remove_leftovers_of(folder / "certificate.json")
        write_json(folder / "certificate.json", certificate)
        return [*files, folder / "certificate.json"]

    def preview(self) -> Picture | None:
        """The picture for a notebook, which should not weigh more than a page; None where there is nothing to draw."""
        return self.picture()

    def numbers(self) -> Sequence[Table]:
        """Tables for a notebook, below the picture."""
        return ()

    def card(self) -> Card:
        """Picture or the arrays' ranges, tables and certificate."""
        picture, line = self.preview(), self.certificate.line()
        seen = (picture.still(), picture.caption.replace(line, "")) if picture else (self.arrays(),)
        return Card("", (*seen, *self.numbers()), self.certificate.notes, line)


def file_name(*words: str | int) -> str:
    """A file name from names that hold anything: layers, classes, paths.

    >>> file_name("layer1.0.relu#1", "tabby cat")
    'layer1.0.relu-1-tabby-cat'
    """
    return re.sub(r"[^\w.-]+", "-", "-".join(str(word) for word in words)).strip("-") or "picture"


def unique(names: Sequence[str]) -> list[str]:
    """The names with `-2`, `-3` behind those that came before.

    >>> unique(["cat", "dog", "cat"])
    ['cat', 'dog', 'cat-2']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found
