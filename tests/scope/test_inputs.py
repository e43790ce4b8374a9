"""Whatever a person has in hand becomes the same input as the decoder and the preprocessing give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from coloured import write_images
from cutaway.data import decode, load_data
from cutaway.errors import InputError
from cutaway.models import Preprocessing
from cutaway.runs import RunFolder, open_run
from cutaway.scope import Scope
from cutaway.scope.comparison import shared_data
from cutaway.scope.exemplars import loaded
from cutaway.scope.inputs import read_inputs
from whole_records import whole_info

RGB = Preprocessing((3, 6, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
GREY = Preprocessing((1, 6, 8), (0.5,), (0.25,))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS.transpose(1, 2, 0)).save(path)
    return path


def test_all_roads_lead_to_one_input(photo: Path) -> None:
    truth = RGB(torch.from_numpy(decode(photo, size=(6, 8)))[None])
    rows = PIXELS.transpose(1, 2, 0)
    ways: list[Any] = [
        photo,
        str(photo),
        Image.open(photo),
        rows,
        torch.from_numpy(PIXELS),
        PIXELS,
        PIXELS[None],
        truth,
    ]
    for way in ways:
        given = read_inputs(way, RGB)
        assert torch.allclose(given.values, truth, atol=1e-6)
        assert torch.equal(given.pixels, torch.from_numpy(PIXELS)[None])
    mixed = read_inputs([photo, rows, PIXELS], RGB)
    assert mixed.names == (str(photo), "image 1", "image 2")
    assert torch.equal(mixed.values, truth.expand(3, -1, -1, -1))


def test_photographs_are_resized_turned_grey_and_laid_on_white() -> None:
    large = Image.new("RGBA", (80, 60), (255, 0, 0, 0))
    given = read_inputs(large, GREY)
    assert given.pixels.shape == (1, 1, 6, 8)
    assert bool((given.pixels == 255).all())  # nothing of the red is left under full transparency


def test_a_float_tensor_is_taken_as_it_is_and_shown_as_it_was() -> None:
    values = RGB(torch.from_numpy(PIXELS)[None])
    given = read_inputs(values, RGB)
    assert given.values is values
    assert torch.equal(given.pixels[0], torch.from_numpy(PIXELS))
    unknown = read_inputs(values, None)
    assert unknown.values is values
    assert int(unknown.pixels.min()) == 0
    assert int(unknown.pixels.max()) == 255


def test_a_flat_image_of_an_unknown_range() -> None:
    assert read_inputs(torch.full((1, 1, 2, 2), 3.0), None).pixels.tolist() == [[[[0, 0], [0, 0]]]]


@pytest.mark.parametrize(
    ("images", "preprocessing", "sentence"),
    [
        ([], RGB, "there is no image to look at"),
        (torch.zeros(0, 3, 6, 8), RGB, r"at least one image; found \(0, 3, 6, 8\)"),
        (torch.zeros(1, 1, 6, 8), RGB, "images must be 3x6x8; found 1x6x8"),
        (torch.full((1, 3, 6, 8), 255.0), RGB, r"must be standardised, about -2\.5 to 2\.5 .*found 255 .* as uint8"),
        (np.zeros((3, 6, 8), dtype=np.float32), RGB, "pixels must be uint8, 0 to 255; found float32"),
        (np.zeros((5, 6, 8), dtype=np.uint8), RGB, "pixels must be 3x6x8 or .*; found 5x6x8"),
        ("nowhere.png", RGB, "there is no image file nowhere.png"),
        ("test:3", RGB, "'test:3' means an image of a run's data"),
        (PIXELS, None, "does not say how its input is standardised"),
    ],
)
def test_sentences(images: Any, preprocessing: Preprocessing | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_inputs(images, preprocessing)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.jpg cannot be read"):
        read_inputs(tmp_path / "broken.jpg", RGB)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg cannot be read: not a regular file"):
        read_inputs(tmp_path / "pipe.jpg", RGB)
    with pytest.raises(InputError, match="cannot be read: a folder, not a file"):
        read_inputs(tmp_path, RGB)
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(InputError, match="there is no image file"):
            read_inputs(name, RGB)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run on photographs with shares of its own; its record alone."""
    write_images(tmp_path / "photos", {"cat": (200, 0, 0), "dog": (0, 0, 200)}, 12)
    data = load_data(tmp_path / "photos", val=0.3, test=0.3, split_seed=5, size=8)
    RunFolder(tmp_path / "run").create(whole_info(data=data.describe()))
    return str(tmp_path / "run")


def of(spec: str) -> Scope:
    """A network that says it is of a run."""
    scope = Scope(torch.nn.Conv2d(3, 2, 3), preprocessing=Preprocessing((3, 8, 8), (0.5,) * 3, (0.2,) * 3))
    scope.spec = spec
    return scope


def test_the_data_of_a_run_are_split_as_they_were_for_it(run: str, tmp_path: Path) -> None:
    photos, wanted = tmp_path / "photos", open_run(run).info["data"]["fingerprint"]
    assert load_data(photos, size=8).fingerprint != wanted  # other shares
    for spec, source in ((run, photos / ".." / "photos"), (f"{run}@last", str(photos))):
        found = of(spec).dataset(source)
        assert found is not None
        assert found.fingerprint == wanted
    assert of(run).dataset(tmp_path / "other") is None
    assert of("resnet18").dataset(photos) is None


def test_whoever_looks_through_a_runs_data_sees_its_own_splits(run: str, tmp_path: Path) -> None:
    """What was trained on is not shown as held out: exemplars, atlas and comparison split as the run did."""
    scope = of(run)
    for found in (loaded(scope, tmp_path / "photos"), shared_data(Scope(torch.nn.ReLU()), scope, tmp_path / "photos")):
        assert found.fingerprint == open_run(run).info["data"]["fingerprint"]


def test_changed_data_are_refused_wherever_they_are_asked_for(run: str, tmp_path: Path) -> None:
    assert len(of(run).inputs("test:0")) == 1
    next((tmp_path / "photos" / "cat").iterdir()).unlink()
    scope = of(run)
    looks = {
        "an image": lambda: scope.inputs("test:0"),
        "exemplars": lambda: loaded(scope, tmp_path / "photos"),
        "a comparison": lambda: shared_data(scope, scope, tmp_path / "photos"),
    }
    for look in looks.values():
        with pytest.raises(InputError, match=r"photos is not what run was trained on: its content changed"):
            look()
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"run was trained on .*photos, which is not here; put the folder there"):
        scope.inputs("test:0")
