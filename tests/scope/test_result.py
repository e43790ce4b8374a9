"""Results are saved whole, with their certificate, or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cutaway.lenses.certificate import Certificate
from cutaway.pictures import Picture
from cutaway.scope.result import Result, file_name, unique

PIXELS = np.zeros((2, 3, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Plain(Result):
    values: Tensor
    certificate: Certificate
    broken: bool = False

    def pictures(self) -> dict[str, Picture]:
        if self.broken:
            raise RuntimeError("cannot be drawn")
        return {"main <one>": Picture(PIXELS, "a <caption>"), "other": Picture(PIXELS)}

    def arrays(self) -> dict[str, Tensor]:
        return {"values": self.values, "part": self.values[:1], "turned": self.values.t()}


CERTIFICATE = Certificate("test", {"layer": "conv", "path": Path("x")}, 3, {"gap": 0.00012345}, ("halved",))


def test_everything_is_saved(tmp_path: Path) -> None:
    values = torch.arange(6.0).reshape(2, 3)
    files = Plain(values, CERTIFICATE).save(tmp_path / "new")
    assert [path.name for path in files] == ["main-one.png", "other.png", "arrays.safetensors", "certificate.json"]
    assert all(path.is_file() for path in files)
    arrays = load_file(tmp_path / "new" / "arrays.safetensors")
    assert torch.equal(arrays["values"], values)
    assert torch.equal(arrays["turned"], values.t())
    told = json.loads((tmp_path / "new" / "certificate.json").read_text())
    assert told["check"] == {"gap": 0.00012345}
    assert told["parameters"] == {"layer": "conv", "path": "x"}


def test_what_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        Plain(torch.zeros(1, 1), CERTIFICATE, broken=True).save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_it_shows_itself_without_scripts_and_with_names_made_harmless() -> None:
    page = Plain(torch.zeros(1, 1), CERTIFICATE)._repr_html_()
    assert "<script" not in page
    assert "a &lt;caption&gt;" in page
    assert "gap 0.000123" in page
    assert "seed 3" in page


def test_names() -> None:
    assert file_name("layer1.0", "甲/乙", 3) == "layer1.0-甲-乙-3"
    assert file_name("???") == "picture"
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_a_certificate_says_what_it_says() -> None:
    signed = CERTIFICATE.signed("abc", {"torch": "2"}, "cpu")
    assert signed.as_dict()["weights"] == "abc"
    assert signed.line() == "test  ·  gap 0.000123  ·  seed 3"
    assert Certificate("plain").line() == "plain"
