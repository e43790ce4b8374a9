"""Ways out of what was typed: options, data, weights, targets."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from ways import QUICK, Place, commands, says


@says("--set '{}'")
def a_setting(at: Place) -> None:
    way = re.search(r"such as (--set \S+)", at.refused(*at.train("--set", "clip")))
    assert way
    at.works(*at.train(*way[1].split()))


@says("--input is")
def an_input(at: Place) -> None:
    way = at.refused("summary", "vgg16", "--input", "3x32").rpartition("such as ")[2]
    at.works("summary", "vgg16", "--input", way)


@says("--out is {}, expected a name ending in")
def an_ending(at: Place) -> None:
    for words in (("curves", at.run), ("audit", at.stage / "colours")):
        line = at.refused(*words, "--out", "x.bmp")
        for ending in re.findall(r"\.[a-z]+", line.partition("ending in")[2]):
            at.works(*words, "--out", f"x{ending}")


@says("nothing to imagine", "--unit is", "--without is for", "--invert needs an image", "--invert needs the --layer")
def imagining(at: Place) -> None:
    imagine = ("imagine", at.run, "--steps", 1, "--size", 16, "--out", "there")
    line = at.refused(*imagine)
    assert re.findall(r"--\w+", line) == ["--class", "--unit", "--layer"]
    for way in (("--class", "红"), ("--unit", "0:1"), ("--layer", "0")):
        at.works(*imagine, *way)
    assert "expected LAYER:CHANNEL" in at.refused(*imagine, "--unit", "0")
    assert "style classic" in at.refused(*imagine, "--class", "红", "--without", "jitter")
    at.works(*imagine, "--class", "红", "--without", "jitter", "--style", "classic")
    image = at.stage / "colours" / "1-红" / "000.png"
    start = ("imagine", at.run, "--steps", 1, "--out", "there")
    assert "give --from IMAGE" in at.refused(*start, "--layer", "0", "--invert")
    assert "needs the --layer" in at.refused(*start, "--class", "红", "--invert", "--from", image)
    at.works(*start, "--layer", "0", "--invert", "--from", image)


@says("--from takes one target", "--from begins with an image")
def imagining_from_an_image(at: Place) -> None:
    start = ("imagine", at.run, "--steps", 60, "--out", "there", "--from", at.stage / "colours" / "1-红" / "000.png")
    assert "run it once for each" in at.refused(*start, "--unit", "0:1", "--unit", "0:2")
    assert "leave --size and --without out" in at.refused(*start, "--unit", "0:1", "--size", 16)
    at.works(*start, "--unit", "0:1")
    at.works(*start, "--unit", "0:2")


@says("there is no list")
def a_list_to_leave_out(at: Place) -> None:
    data = Path(shutil.copytree(at.stage / "colours", "colours"))
    shutil.copy(next((data / "1-红").iterdir()), data / "1-红" / "again.png")
    line = at.refused("train", data, "-m", at.tiny, *QUICK, "--leave-out", "none.txt")
    assert "`cutaway audit DATA` writes one" in line
    told = json.loads(at.works("audit", data, "--near", 0, "--json").out)
    at.works("train", data, "-m", at.tiny, *QUICK, "--leave-out", told["leave_out"])


@says("raise --max-bad")
def too_many_bad_files(at: Place) -> None:
    data = Path(shutil.copytree(at.stage / "colours", "colours"))
    for number in range(30):
        (data / "1-红" / f"bad-{number}.jpg").write_text("hello")
    words = ("train", data, "-m", at.tiny, *QUICK)
    assert "or raise --max-bad" in at.refused(*words)
    at.works(*words, "--max-bad", 0.5)
    for file in data.rglob("bad-*"):
        file.unlink()
    at.works(*words)


@says("with --data-dir")
def a_data_set_that_is_nowhere(at: Place) -> None:
    def offline(*_: object, **__: object) -> None:
        from cutaway.data.readers import Unusable

        raise Unusable("offline")

    at.patch.setattr("cutaway.data.sources._fetch", offline)
    at.patch.setattr("cutaway.data.sources.places", lambda name, folder: [Path(folder or "nowhere") / name])
    line = at.refused("train", "fashion-mnist", "-m", at.tiny, *QUICK)
    assert "--data-dir, or use the built-in data set 'shapes'" in line
    _write_idx(Path("mine/fashion-mnist"))
    at.works("train", "fashion-mnist", "-m", at.tiny, *QUICK, "--data-dir", "mine")


def _write_idx(folder: Path) -> None:
    """Fashion-MNIST's four files, with few images."""
    import gzip

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 60)):
        images = random.integers(0, 255, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
            content = magic.to_bytes(4, "big") + sizes + values.tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))


@says("has no weights of its own", "is a run and has its own weights")
def weights_of_its_own(at: Place) -> None:
    assert "take torchvision:vgg16, or --weights FILE" in at.refused("kernels", "vgg16", "--weights", "default")
    assert "leave out --weights" in at.refused("kernels", at.run, "--weights", "x.safetensors")
    at.works("kernels", at.run)
    at.works("kernels", at.tiny, "--weights", at.run / "checkpoints" / "epoch-0001.safetensors")


@says("neither in the local cache nor could they be fetched")
def weights_that_cannot_be_fetched(at: Place) -> None:
    import torch
    import torchvision
    from safetensors.torch import save_file

    def offline(*_: object, **__: object) -> None:
        raise OSError("offline")

    at.patch.setattr(torch.hub, "load_state_dict_from_url", offline)
    at.patch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    name = "torchvision:squeezenet1_1"
    assert "--weights FILE" in at.refused("kernels", name, "--weights", "default", "--layer", "features.0")
    save_file(torchvision.models.squeezenet1_1().state_dict(), "weights.safetensors")
    at.works("kernels", name, "--weights", "weights.safetensors", "--layer", "features.0")


@says("has no 2-D convolution")
def no_convolution(at: Place) -> None:
    at.works("train", at.stage / "colours", "-m", f"{at.stage}/tiny.py:flat", *QUICK)
    run = "runs/colours-tiny-1"
    assert "`cutaway summary` lists them" in at.refused("gradients", run, "test:0")
    rows = json.loads(at.works("summary", run, "--json").out)["rows"]
    named = next(row["name"] for row in rows if row["kind"] == "Linear")
    at.works("gradients", run, "test:0", "--layer", named)


@says("`{} --help` shows what is expected")
def a_mistyped_command(at: Place) -> None:
    for words in (("train",), ("train", "shapes", "--epochs", "two"), ("--nothing",)):
        [way] = commands(at.refused(*words))
        at.works(*way)
