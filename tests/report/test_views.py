import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from cutaway.errors import InputError
from cutaway.lenses.architecture import Row
from cutaway.pictures import snapshot_scales, to_rgb
from cutaway.pictures.grids import choose
from cutaway.runs import Run
from cutaway.runs.sealed import seal
from cutaway.views import film as film_module
from cutaway.views import run as run_module
from cutaway.views.film import build_film, read_snapshot, spread
from cutaway.views.run import run_row, view_run


def test_figures_name_their_split_and_its_size(run: Run) -> None:
    figures = view_run(run).figures
    assert [figure.value for figure in figures] == ["75.00%", "90.00%", "1 min 30 s"]
    assert figures[0].label == "accuracy on the test split"
    assert figures[0].note == "120 images · 95% interval 70.0% to 80.0% · epoch 2"
    assert figures[1].note == "100 images · epoch 2, chosen by this split"


def test_notes_tell_bad_files_warnings_and_missing_shapes(run: Run) -> None:
    notes = view_run(run).notes
    assert notes[0] == "5 shared"
    assert notes[1] == "1 files were left out, the first: a<b>.jpg (truncated)"
    assert notes[2] == "images of 2 sizes were resized"
    assert notes[3].startswith("layer shapes are not shown: ")


def test_layers_have_the_vitals_of_the_last_epoch(run: Run) -> None:
    layers = view_run(run).layers
    assert [row.name for row in layers] == ["conv1", "fc"]
    assert layers[0].gradient_norm == pytest.approx(0.3)
    assert layers[0].dead == "2"


def test_layers_have_shapes_where_the_network_can_be_built(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("conv1", "Conv2d", (1, 1, 6, 6), (1, 30, 6, 4), (3, 3), 640, False, 1, 1, (3, 5), (1, 1))
    monkeypatch.setattr(run_module, "_shapes", lambda run: {"conv1": row})
    view = view_run(run)
    assert len(view.layers) == 1
    assert (view.layers[0].output, view.layers[0].parameters, view.layers[0].receptive_field) == ("30×6×4", 640, "3×5")
    assert not any("shapes" in note for note in view.notes)


def test_facts_are_readable(run: Run) -> None:
    facts = dict(view_run(run).facts)
    assert facts["images"] == "training 800, validation 100, test 120 · 1×6×6"
    assert facts["recipe"] == "epochs 4 · optimizer sgd · learning rate 0.1 · flip random"


def test_row_of_the_list_of_runs(run: Run) -> None:
    assert run_row(run) == {
        "run": "fashion-<i>-1",
        "status": "finished",
        "data": "fashion",
        "model": "resnet18",
        "epochs": "3/4",
        "best": 2,
        "accuracy": "90.0%",
        "measured on": "val (100 images)",
        "problem": None,
    }


def test_a_run_that_has_just_begun(run: Run) -> None:
    run.folder.metrics.unlink()
    run.folder.vitals.unlink()
    run.folder.evaluation("test").unlink()
    view = view_run(run)
    assert (view.figures, view.epochs, view.best_epoch, view.evaluation) == ((), (), None, None)
    assert run_row(run)["accuracy"] is None


def test_frames_are_the_arrays_on_one_scale(run: Run) -> None:
    film = build_film(run)
    assert film is not None
    assert film.epochs == (1, 2, 3)
    assert [(strip.kind, strip.layer) for strip in film.strips] == [
        ("kernels", "conv1"),
        ("gradients", "conv1"),
        ("maps", "conv1"),
        ("maps", "layer1.conv"),
    ]
    contents = {epoch: read_snapshot(run.folder.snapshot(epoch) / "arrays.safetensors").arrays for epoch in film.epochs}
    strip = film.strips[2]
    assert strip.scale == snapshot_scales(contents.values())["maps/conv1"]
    assert strip.largest == max(float(np.abs(arrays["maps/conv1"]).max()) for arrays in contents.values())
    shown = choose(30, film_module.MAX_CHANNELS)
    assert [mark.text for mark in strip.marks] == [str(2 * channel) for channel in shown]
    zoom = 32 // 6
    for epoch, frames in strip.frames.items():
        assert len(frames) == 3
        image = Image.open(io.BytesIO(frames[1]))
        assert (image.height, image.width) == strip.size
        mark = strip.marks[5]
        left, top = mark.left - 6 * zoom // 2, mark.top - 6 * zoom
        tile = np.asarray(image.convert("RGB"))[top : top + 6 * zoom : zoom, left : left + 6 * zoom : zoom]
        assert np.array_equal(tile, to_rgb(contents[epoch]["maps/conv1"][1, shown[5]], strip.scale))


def test_probes_are_the_images(run: Run) -> None:
    film = build_film(run)
    assert film is not None
    images = read_snapshot(run.folder.snapshot(3) / "arrays.safetensors").arrays["images"]
    assert [probe.label for probe in film.probes] == ["T-shirt", "<script>alert(1)</script>", "运动鞋"]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(film.probes[0].png))), images[0, 0])


def test_a_damaged_snapshot_is_named_and_left_out(run: Run) -> None:
    path = run.folder.snapshot(2) / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    film = build_film(run)
    assert film is not None
    assert film.epochs == (1, 3)
    assert film.left_out[0].startswith(f"{path} is damaged")
    with pytest.raises(InputError, match="is damaged"):
        read_snapshot(path)


def test_long_runs_are_thinned_and_it_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_module, "MAX_EPOCHS", 3)
    for epoch in (4, 5):
        shutil.copytree(run.folder.snapshot(1), run.folder.snapshot(epoch))
    film = build_film(run)
    assert film is not None
    assert film.epochs == (1, 2, 5)
    assert film.left_out == ("3 of 5 epochs, evenly spread",)


def test_spread_keeps_first_last_and_best() -> None:
    assert spread([1, 2, 3], 5) == [1, 2, 3]
    found = spread(list(range(1, 501)), 30, 333)
    assert len(found) == 30
    assert {1, 333, 500} <= set(found)
    assert spread(range(1, 101), 5, None) == [1, 26, 51, 75, 100]


def test_no_snapshots(run: Run) -> None:
    for path in run.folder.path.glob("snapshots/*/*"):
        path.unlink()
    assert build_film(run) is None


def test_another_file_in_a_snapshots_place_is_named_and_left_out(run: Run) -> None:
    """Such as a part of an atlas, whole and sealed."""
    path = run.folder.snapshot(2) / "arrays.safetensors"
    path.write_bytes(seal(save({"best.scores": torch.zeros(3)}), {})[0])
    film = build_film(run)
    assert film is not None
    assert film.epochs == (1, 3)
    assert "it holds 'best.scores', which no snapshot does" in film.left_out[0]
