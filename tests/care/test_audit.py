"""The audit of folders with planted faults."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutaway.care import Audit, audit
from cutaway.care.findings import find, remedy
from cutaway.care.summary import summarize
from cutaway.data import load_data
from cutaway.data.leaving import read_leaving
from cutaway.errors import InputError
from cutaway.report.audit import write_audit
from cutaway.words import LANGUAGES, words

VOID = {"meta", "link", "img", "input", "br", "rect"}


def picture(seed: int, side: int = 48) -> Image.Image:
    """Random blocks: no two seeds look alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)


def planted(folder: Path) -> Path:
    """A folder in which every fault is there: see the test."""
    seed = 0
    for split, count in (("train", 12), ("val", 3), ("test", 6)):
        for name in ("1-cat", "2-dog"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count if name == "1-cat" else count // 3):
                picture(seed := seed + 1).save(place / f"{number}.png")
    train, test = folder / "train", folder / "test"
    picture(1).save(test / "2-dog" / "leak.png")  # train/1-cat/0.png, under another class
    picture(2).save(test / "1-cat" / "near.jpg", quality=60)  # train/1-cat/1.png, compressed
    picture(3).resize((36, 36)).save(train / "1-cat" / "small.png")  # train/1-cat/2.png
    picture(4).save(train / "1-cat" / "copy.png")  # train/1-cat/3.png
    Image.new("RGB", (48, 48), (90, 90, 90)).save(train / "2-dog" / "blank.png")
    Image.new("RGB", (48, 48)).save(train / "1-cat" / "black.png")
    picture(90).convert("L").save(train / "1-cat" / "grey.png")
    picture(91).resize((200, 50)).save(train / "1-cat" / "long.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(92).save(train / "1-cat" / "turned.jpg", exif=exif)
    content = (train / "1-cat" / "turned.jpg").read_bytes()
    (train / "1-cat" / "half.jpg").write_bytes(content[: len(content) // 2])
    (train / "2-dog" / "page.jpg").write_text("<html>404</html>")
    return folder


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return audit(planted(tmp_path_factory.mktemp("planted") / "pets"))


def test_every_planted_fault_is_found(audited: Audit) -> None:
    found = {finding.rule: finding for finding in find(audited)}
    counts = {rule: finding.values.get("count") for rule, finding in found.items()}
    expected = {"leak_exact": 1, "leak_near": 2, "two_classes": 1, "bad": 2, "blank": 2, "enlarged": 1, "long": 1}
    assert {rule: counts.get(rule) for rule in expected} == expected
    assert {"grey": 1, "turned": 1, "equal": 2}.items() <= counts.items()
    assert found["imbalance"].values["name"] == "cat"
    assert found["sizes"].values["count"] == 3
    order = [("error", "warning", "note").index(finding.severity) for finding in find(audited)]
    assert order == sorted(order)


def test_the_majority_baseline_is_counted_on_the_test_split(audited: Audit) -> None:
    tests = [
        label for label, split in zip(audited.labels, audited.split_of, strict=True) if audited.splits[split] == "test"
    ]
    assert audited.majority() == ("cat", tests.count(0) / len(tests))


def test_what_is_left_out(audited: Audit) -> None:
    gone = {audited.names[one.image]: (one.rule, one.instead_of) for one in audited.suggestions}
    names = {name: place for place, name in enumerate(audited.names)}
    assert gone == {
        "train/1-cat/0.png": ("two-classes", names["test/2-dog/leak.png"]),
        "test/2-dog/leak.png": ("two-classes", names["train/1-cat/0.png"]),
        # The test image stays, though it came second; so does the larger of two.
        "train/1-cat/1.png": ("near", names["test/1-cat/near.jpg"]),
        "train/1-cat/small.png": ("near", names["train/1-cat/2.png"]),
        "train/1-cat/copy.png": ("equal", names["train/1-cat/3.png"]),
        "train/2-dog/blank.png": ("blank", None),
        "train/1-cat/black.png": ("blank", None),
    }


def test_an_image_is_found_again(audited: Audit) -> None:
    place = audited.names.index("test/2-dog/leak.png")
    assert (audited.image(place) == np.asarray(picture(1).resize((48, 48))).transpose(2, 0, 1)).all()


def test_training_without_the_list_has_no_fault_left(audited: Audit, tmp_path: Path) -> None:
    _, listed = write_audit(audited, tmp_path / "page.html", words("en"))
    assert listed is not None
    items = read_leaving(listed)
    assert len(items) == 9
    again = audit(audited.data.source, leave_out=listed)
    rules = {finding.rule for finding in find(again)}
    assert not rules & {"leak_exact", "leak_near", "two_classes", "equal", "near", "blank"}
    assert len(again) == len(audited) - 7
    # Nothing is bad any more: even the strictest limit is kept.
    data = load_data(audited.data.source, leave_out=listed, max_bad=0)
    assert {item.file for item in data.quarantine} == {item.file for item in items}
    assert data.options["leave_out"] == str(listed)


class Reader(HTMLParser):
    """Every element is closed, and nothing comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href") or str(value).startswith(("data:", "#"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_holds_everything(audited: Audit, tmp_path: Path, language: str) -> None:
    page, _ = write_audit(audited, tmp_path / "page.html", words(language))
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    for name in ("test/2-dog/leak.png", "train/1-cat/half.jpg", "train/2-dog/page.jpg", "train/1-cat/black.png"):
        assert name in text
    assert words(language)("audit.findings") in text
    assert f"--leave-out {tmp_path / 'page.leave-out.txt'}" in text


def test_what_remains_of_a_truncated_file_is_shown(audited: Audit, tmp_path: Path) -> None:
    text = write_audit(audited, tmp_path / "page.html", words("en"))[0].read_text(encoding="utf-8")
    row = text[text.index("train/1-cat/half.jpg") - 3000 : text.index("train/1-cat/half.jpg")]
    assert "data:image/jpeg" in row


def test_the_summary_is_json_with_the_same_figures(audited: Audit) -> None:
    found = json.loads(json.dumps(summarize(audited)))
    assert found["images"] == len(audited)
    assert {leak["split"]: (leak["exact"], leak["near"]) for leak in found["leaks"]}["test"] == (1, 2)
    assert found["equal"] == [
        ["train/1-cat/0.png", "test/2-dog/leak.png"],
        ["train/1-cat/3.png", "train/1-cat/copy.png"],
    ]
    assert {item["file"] for item in found["quarantine"]} == {"train/1-cat/half.jpg", "train/2-dog/page.jpg"}
    assert found["files"]["turned"] == 1


def test_a_built_in_set_has_no_files_and_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.data.shapes.SIZES", {"train": 60, "val": 20, "test": 20})
    found = audit("shapes", size=16)
    assert found.names[60] == "val:0"
    page, listed = write_audit(found, tmp_path / "shapes.html", words("en"))
    assert listed is None
    assert summarize(found)["files"] is None
    assert "--leave-out" not in page.read_text(encoding="utf-8")


def test_splits_that_are_made_here_leave_the_first_of_two(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(12):
            picture(100 * (label == "b") + number).save(tmp_path / label / f"{number}.png")
    picture(5).save(tmp_path / "a" / "5x.jpg")
    found = audit(tmp_path)
    assert [(found.names[one.image], one.rule) for one in found.suggestions] == [("a/5x.jpg", "near")]


def test_the_remedy_of_a_leak_into_a_split_made_here_is_another_split(tmp_path: Path) -> None:
    copies = 40
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(copies):
            one = picture(1000 * (label == "b") + number)
            one.save(tmp_path / label / f"{number}.png")
            one.save(tmp_path / label / f"{number}x.jpg", quality=70)
    apart, together = audit(tmp_path), audit(tmp_path, keep_together=True)
    remedies = {one.rule: remedy(apart, one, Path("list.txt")) for one in find(apart)}
    assert remedies["leak_near"] == f"cutaway train {tmp_path} --keep-together"
    assert remedies["near"] == f"cutaway train {tmp_path} --leave-out list.txt"
    assert "leak_near" not in {one.rule for one in find(together)}
    assert [leak.near for leak in together.leaks] == [0, 0]
    told = f"{4 * copies} images have near duplicates: {2 * copies} families of up to 2, each in one split"
    assert together.data.notes == (told,)


@pytest.mark.parametrize("bits", [-1, 81])
def test_near_is_a_number_of_bits(bits: int) -> None:
    with pytest.raises(InputError, match=f"0 to 80 bits of 255; found {bits}"):
        audit("shapes", most=bits)


def folder_of(root: Path, images: dict[str, list[Image.Image]]) -> Path:
    for name, pictures in images.items():
        (root / name).mkdir(parents=True)
        for number, one in enumerate(pictures):
            one.save(root / name / f"{number}.png")
    return root


def test_white_drawings_on_transparent_ground_are_shown_and_not_refused(tmp_path: Path) -> None:
    drawings = []
    for number in range(8):
        drawing = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
        drawing.paste((255, 255, 255, 255), (number, number, number + 20, number + 20))
        drawings.append(drawing)
    root = folder_of(tmp_path / "drawings", {"a": drawings[:4], "b": drawings[4:]})
    with pytest.raises(InputError, match="distinct images"):
        load_data(root)
    found = audit(root)
    rules = {one.rule: one for one in find(found)}
    assert rules["blank"].values["count"] == 8
    assert rules["few"].values == {"names": "a, b", "needed": 3}
    assert rules["two_classes"].severity == "error"
    assert {name: len(split) for name, split in found.data.splits.items()} == {"train": 8, "val": 0, "test": 0}
    assert "RGBA" in write_audit(found, tmp_path / "page.html", words("en"))[0].read_text(encoding="utf-8")
    assert json.loads(json.dumps(summarize(found)))["images"] == 8


@pytest.mark.parametrize("count", [1, 2, 12])
def test_one_class_is_shown_and_not_refused(tmp_path: Path, count: int) -> None:
    root = folder_of(tmp_path / "one", {"cat": [picture(seed) for seed in range(count)]})
    found = audit(root)
    rules = {one.rule: one.values for one in find(found)}
    assert rules["one_class"] == {"name": "cat"}
    assert ("few" in rules) == (count < 3)
    assert found.counts().sum() == count
    write_audit(found, tmp_path / "page.html", words("zh"))


def test_a_class_that_is_missing_in_a_split_is_shown_and_not_refused(tmp_path: Path) -> None:
    folder_of(tmp_path / "set" / "train", {"a": [picture(1), picture(2)], "b": [picture(3)]})
    folder_of(tmp_path / "set" / "test", {"a": [picture(4)]})
    rules = {one.rule: one.values for one in find(audit(tmp_path / "set"))}
    assert rules["absent"] == {"names": "b"}
    assert rules["few"] == {"names": "b", "needed": 2}
