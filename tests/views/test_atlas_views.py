"""Pages of units and layers as plain data: what is not made yet, sort keys, and one picture for a whole grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.files import write_json
from cutaway.pictures.colours import Scale
from cutaway.pictures.stills import Still, packed, small_still
from cutaway.runs.atlas import Atlas, LayerRecord, open_atlas, write_arrays, write_info
from cutaway.views.layer import exemplar_sprite, imagined_sprite, view_layer
from cutaway.views.unit import map_view, source_name, strongest_inputs, view_unit

LAYERS = {
    name: LayerRecord(name, "Conv2d", channels, (4, 4), ((-1, 2, 3), (-1, 2, 3)), True)
    for name, channels in (("first", 3), ("block/second", 5), ("third", 2))
}


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    """An atlas of which nothing is made yet."""
    info = {
        "schema_version": 2,
        "key": "12345678",
        "model": "two",
        "epoch": None,
        "weights": "0" * 16,
        "shape": [3, 8, 8],
        "classes": ["cat", "dog"],
        "data": {"source": "photos", "split": "train", "images": 4, "fingerprint": "0" * 16, "classes": ["cat", "dog"]},
        "settings": {"k": 1, "style": "fourier", "steps": 4, "size": None, "chunk": 2},
        "layers": {name: layer.as_dict() for name, layer in LAYERS.items()},
    }
    write_info(tmp_path, info)  # type: ignore[arg-type]  # whole, but built of other parts
    return open_atlas(tmp_path)


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)


def keep_images(atlas: Atlas, ids: list[int], pack: int = 1) -> None:
    data, offsets = packed([small_still(images()[one]).data for one in ids])
    names, name_offsets = packed([f"{one}.png".encode() for one in ids])
    arrays = {"ids": np.array(ids), "labels": np.array(ids) % 2, "bytes": data, "offsets": offsets}
    path = atlas.path / "images" / f"{pack:04d}.safetensors"
    write_arrays(path, {**arrays, "names": names, "name_offsets": name_offsets}, {})


def keep_exemplars(atlas: Atlas, layer: str, best: list[float]) -> None:
    arrays = {}
    for kind in ("best", "least", "quantiles"):
        arrays[f"{kind}.scores"] = np.array(best, np.float32)[:, None]
        arrays[f"{kind}.images"] = np.arange(len(best), dtype=np.int32)[:, None] % 4
        arrays[f"{kind}.places"] = np.full((len(best), 1), 5, np.int32)
    write_arrays(atlas.part("exemplars", layer), arrays, {"certificate": {"check": {}}})


def keep_responses(atlas: Atlas, layer: str, active: list[float], votes: list[list[float]]) -> None:
    count = len(active)
    some = dict.fromkeys(("mean", "std", "low", "high", "best_mean"), np.arange(count, dtype=np.float32))
    arrays = {**some, "active": np.array(active, np.float32), "votes": np.array(votes, np.float32)}
    arrays |= {"responses": np.full((count, 2), np.nan, np.float32), "counts": np.ones((count, 4), np.int64)}
    arrays["edges"] = np.zeros((count, 5), np.float32)
    about = {"images": 4, "total": 9, "classes": [0, 1], "active_of": "relu", "certificate": {}}
    write_arrays(atlas.part("responses", layer), arrays, about)


def test_what_is_not_made_yet_is_none(atlas: Atlas) -> None:
    view = view_unit(atlas, "block/second", 4)
    assert (view.kind, view.channels, view.map_size, view.field) == ("Conv2d", 5, (4, 4), (3, 3))
    assert view.best == view.least == view.quantiles == view.imagined == view.votes == view.incoming == ()
    assert view.kernel is view.statistics is None
    assert view.certificates == {}
    layer = view_layer(atlas, "block/second")
    assert (layer.previous, layer.following) == ("first", "third")
    assert layer.sorted("high") == layer.sorted("dead") == [0, 1, 2, 3, 4]
    assert exemplar_sprite(atlas, "first") is None
    assert imagined_sprite(atlas, "first") is None


def test_a_patch_without_its_image_still_has_its_numbers(atlas: Atlas) -> None:
    keep_exemplars(atlas, "first", [3.0, 2.0, 1.0])
    (patch,) = view_unit(atlas, "first", 1).best
    assert (patch.score, patch.image, patch.name, patch.place) == (2.0, 1, "train:1", (1, 1))
    assert patch.box == (1, 1, 4, 4)
    assert patch.context_box == (1 / 8, 1 / 8, 4 / 8, 4 / 8)
    assert patch.crop is patch.context is None


def test_images_may_lie_in_several_files(atlas: Atlas) -> None:
    keep_exemplars(atlas, "first", [3.0, 2.0, 1.0])
    keep_images(atlas, [0, 2], 1)
    keep_images(atlas, [1], 2)
    again = open_atlas(atlas.path)
    assert again.kept() == {0, 1, 2}
    for channel in range(3):
        (patch,) = view_unit(again, "first", channel).best
        assert (patch.name, patch.label) == (f"{channel}.png", ("cat", "dog")[channel % 2])
        assert patch.crop is not None
        assert np.array_equal(patch.crop.pixels, images()[channel].transpose(1, 2, 0)[1:4, 1:4])


def test_rows_and_their_order(atlas: Atlas) -> None:
    keep_exemplars(atlas, "first", [1.0, 3.0, 2.0])
    keep_responses(atlas, "first", [0.5, 0.0, 0.25], [[1.0, -1.0], [0.0, 0.0], [-2.0, 2.0]])
    view = view_layer(atlas, "first")
    assert [(row.dead, row.high, row.label, row.vote) for row in view.rows] == [
        (False, 1.0, "cat", 1.0),
        (True, 3.0, "cat", 0.0),
        (False, 2.0, "dog", 2.0),
    ]
    assert {key: view.sorted(key) for key in ("name", "high", "active", "response", "dead")} == {
        "name": [0, 1, 2],
        "high": [1, 2, 0],
        "active": [0, 2, 1],
        "response": [2, 1, 0],
        "dead": [1, 0, 2],
    }
    votes = view_unit(atlas, "first", 2).votes
    assert [(vote.label, vote.vote, vote.response) for vote in votes] == [("dog", 2.0, None), ("cat", -2.0, None)]


def test_one_picture_shows_every_patch_where_it_says(atlas: Atlas) -> None:
    keep_exemplars(atlas, "first", [3.0, 2.0, 1.0])
    keep_images(atlas, [0, 1, 2])
    sprite = exemplar_sprite(open_atlas(atlas.path), "first")
    assert sprite is not None
    assert sprite.channels == (0, 1, 2)
    for channel in range(3):
        top, left = sprite.layout.corner(channel)
        cell = sprite.still.pixels[top : top + sprite.layout.height, left : left + sprite.layout.width]
        assert np.array_equal(cell, images()[channel].transpose(1, 2, 0)[1:4, 1:4])


def test_imagined_images_come_as_far_as_they_are_made(atlas: Atlas) -> None:
    data, offsets = packed([small_still(images()[one]).data for one in (0, 1)])
    numbers = dict.fromkeys(("reached", "start", "noise_mean", "noise_max", "peak"), np.array([1, 2], np.float32))
    parameters = {"steps": 4, "style": "fourier"}
    notes = ["'block/second:2' stayed", "'block/second:3' stayed", "not enough memory"]
    about = {"certificate": {"seed": 0, "parameters": parameters, "notes": notes, "check": {}}}
    write_arrays(atlas.chunk("block/second", 1), {**numbers, "bytes": data, "offsets": offsets}, about)
    (found,) = view_unit(atlas, "block/second", 3).imagined
    assert np.array_equal(found.still.pixels, images()[1].transpose(1, 2, 0))
    assert (found.reached, found.best_real) == (2.0, None)
    assert found.notes == ("'block/second:3' stayed", "not enough memory")
    assert view_unit(atlas, "block/second", 1).imagined == ()
    sprite = imagined_sprite(atlas, "block/second")
    assert sprite is not None
    assert sprite.channels == (2, 3)


def test_a_map_over_its_image() -> None:
    values = np.zeros((2, 2), np.float32)
    values[0, 1] = 5.0
    image = np.full((3, 8, 8), 100, np.uint8)
    view = map_view(values, None, image)
    assert not view.dead
    assert view.overlay is not None
    assert (view.overlay.pixels[4:, :] == 100).all()
    assert (view.overlay.pixels[:4, 4:] != 100).any(axis=2).all()
    assert map_view(np.zeros((2, 2))).dead
    assert map_view(values, Scale.of(values * 2)).scale.high == 10.0


def test_the_strongest_inputs_of_a_kernel_by_hand() -> None:
    kernel = np.zeros((4, 1, 1), np.float32)
    kernel[:, 0, 0] = 1, -3, 0, 2
    view = strongest_inputs(kernel, 2)
    assert (view.inputs, view.sources, view.total) == ((1, 3), ("c1", "c3"), 4)
    assert view.values.ravel().tolist() == [-3, 2]
    assert view.norm == pytest.approx(14**0.5)


def test_what_arrives_at_an_input() -> None:
    wires = [
        {"source": "one", "first": 0, "start": 4, "channels": 2, "repeat": 3},
        {"source": "two", "first": 0, "start": 0, "channels": 6, "repeat": 1},
    ]
    assert source_name(wires, 5) == "one c5 + two c5"
    assert source_name(wires, 9) == ""


def test_stills() -> None:
    grey = small_still(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    assert (grey.media, grey.pixels.shape) == ("image/png", (8, 8, 3))
    assert grey.pixels[..., 0].ravel().tolist() == list(range(64))
    large = small_still(np.full((3, 300, 150), 7, np.uint8))
    assert (large.media, large.height, large.width) == ("image/jpeg", 96, 48)
    assert Still.read(large.data).height == 96
    assert large.uri.startswith("data:image/jpeg;base64,")


def error(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_mistakes(atlas: Atlas, tmp_path: Path) -> None:
    assert "layer 'frist' is not in the atlas" in error(lambda: view_unit(atlas, "frist", 0))
    assert error(lambda: view_unit(atlas, "first", 3)) == ("layer 'first' has no channel 3; they are numbered 0 to 2")
    assert "sort key 'size' is not one of" in error(lambda: view_layer(atlas, "first").sorted("size"))
    keep_exemplars(atlas, "first", [1.0, 2.0, 3.0])
    atlas.part("exemplars", "first").write_bytes(b"torn")
    assert "is damaged" in error(lambda: view_unit(atlas, "first", 0))
    assert "is no atlas: it has no atlas.json" in error(lambda: open_atlas(tmp_path / "nothing"))
    write_json(tmp_path / "new" / "atlas.json", {"schema_version": 99})
    assert "update Cutaway" in error(lambda: open_atlas(tmp_path / "new"))
    write_json(tmp_path / "odd" / "atlas.json", [])
    assert "expected a JSON object" in error(lambda: open_atlas(tmp_path / "odd"))
