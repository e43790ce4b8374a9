from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from odd_files import noise, packed

from cutaway.data import Undecodable, decode
from cutaway.data.folder import class_names, list_folder, natural
from cutaway.data.leaving import read_leaving
from cutaway.errors import InputError

PIXELS = packed(noise(), "PNG")


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(PIXELS)
    return root


def test_natural_order_counts() -> None:
    names = ["10-b", "2-a", "1", "b", "A", "a10", "a9", "02-x", "", "猫2", "猫10"]
    assert sorted(names, key=natural) == ["", "1", "2-a", "02-x", "10-b", "A", "a9", "a10", "b", "猫2", "猫10"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["1-甲", "2-乙", "10-癸"], ("甲", "乙", "癸")),
        (["1-cat", "dog"], ("1-cat", "dog")),
        (["1-cat", "2-cat"], ("1-cat", "2-cat")),
        (["0", "1"], ("0", "1")),
        (["1-", "2-"], ("1-", "2-")),
        (["01 - cat", "02 - dog"], ("cat", "dog")),
        (["3-2-x", "4-2-y"], ("2-x", "2-y")),
    ],
)
def test_a_prefix_orders_and_is_no_name(folders: list[str], expected: tuple[str, ...]) -> None:
    assert class_names(folders) == expected


def test_one_folder_of_class_folders(tmp_path: Path) -> None:
    make(tmp_path, "10-癸/1.png", "2-乙/b/10.png", "2-乙/b/9.png", "1-甲/x.png")
    listing = list_folder(tmp_path)
    assert listing.classes == ("甲", "乙", "癸")
    assert [(e.file, e.label) for e in listing.splits["all"]] == [
        ("1-甲/x.png", 0),
        ("2-乙/b/9.png", 1),
        ("2-乙/b/10.png", 1),
        ("10-癸/1.png", 2),
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path: Path, val: str) -> None:
    make(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "test", val) for name in "ab"))
    listing = list_folder(tmp_path)
    assert set(listing.splits) == {"train", "val", "test"}
    assert listing.splits["val"][0].file == f"{val}/a/1.png"


def test_train_alone_is_split_and_said(tmp_path: Path) -> None:
    listing = list_folder(make(tmp_path, "train/a/1.png", "train/b/1.png"))
    assert set(listing.splits) == {"all"}
    assert "only train/" in listing.notes[0]


def test_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    assert list_folder(make(tmp_path, "train/1.png", "bus/1.png")).classes == ("bus", "train")


def test_two_folders_of_one_split(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(InputError, match="two folders for one split"):
        list_folder(tmp_path)


def test_hidden_system_and_side_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", ".git/x/1.png", "__MACOSX/a/1.png", "@eaDir/1.png", "a/@eaDir/t.png")
    make(
        tmp_path,
        "a/.DS_Store",
        "a/._1.png",
        "a/Thumbs.db",
        "a/desktop.ini",
        "a/notes.txt",
        "a/1.json",
        "b/.hidden/2.png",
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("x")
    listing = list_folder(tmp_path)
    assert [entry.file for entry in listing.splits["all"]] == ["a/1.png", "b/1.png"]
    assert listing.classes == ("a", "b")


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    make(tmp_path / "store", "a/1.png", "b/1.png")
    view = tmp_path / "view"
    (view / "a").mkdir(parents=True)
    (view / "b").symlink_to(tmp_path / "store" / "b")
    (view / "a" / "1.png").symlink_to(tmp_path / "store" / "a" / "1.png")
    (view / "a" / "round").symlink_to(view / "a")
    (view / "a" / "broken.png").symlink_to(tmp_path / "nowhere")
    assert [e.file for e in list_folder(view).splits["all"]] == ["a/1.png", "a/broken.png", "b/1.png"]


@pytest.mark.parametrize(
    ("link", "target", "said"),
    [
        ("a/sister", "b", "a/sister, because it is a link that leads to a folder that the data set has already"),
        ("a/up", ".", "a/up, because it is a link that leads upwards"),
        ("a/far-up", "..", "a/far-up, because it is a link that leads upwards"),
        ("a/inner/round", "a", "a/inner/round, because it is a link that leads upwards"),
        ("c", "a", "c, because it is a link that leads to a folder that the data set has already"),
        ("c", ".", "c, because it is a link that leads upwards"),
        ("a/out", "../elsewhere/x/up", "a/out/up, because it is a link that leads upwards"),
    ],
)
def test_a_link_that_the_data_set_has_already_is_left_out_and_told(
    tmp_path: Path, link: str, target: str, said: str
) -> None:
    root = make(tmp_path / "set", "a/1.png", "a/inner/2.png", "b/1.png")
    make(tmp_path / "elsewhere", "x/3.png")
    (tmp_path / "elsewhere" / "x" / "up").symlink_to(tmp_path / "elsewhere")
    (root / link).symlink_to((root / target).resolve() if "elsewhere" not in target else tmp_path / "elsewhere" / "x")
    listing = list_folder(root)
    assert [e.file for e in listing.splits["all"] if "3.png" not in e.file] == ["a/1.png", "a/inner/2.png", "b/1.png"]
    assert listing.notes == (f"left out: {said}",)


def test_folders_elsewhere_that_link_to_one_another_are_gone_through_once(tmp_path: Path) -> None:
    root, places = make(tmp_path / "set", "a/1.png", "b/1.png"), [f"p{number}" for number in range(12)]
    for place in places:
        make(tmp_path / "web", f"{place}/{place}.png")
        for other in places:
            (tmp_path / "web" / place / f"to-{other}").symlink_to(tmp_path / "web" / other)
    (root / "a" / "web").symlink_to(tmp_path / "web" / "p0")
    files = [entry.file for entry in list_folder(root).splits["all"]]
    assert len([file for file in files if file.startswith("a/web/")]) == 12


def test_a_hidden_store_in_the_data_set_is_not_had_already(tmp_path: Path) -> None:
    root = make(tmp_path, ".store/a/1.png", "b/1.png", "c/1.png")
    (root / "a").symlink_to(root / ".store" / "a")
    assert [e.file for e in list_folder(root).splits["all"]] == ["a/1.png", "b/1.png", "c/1.png"]


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    root = make(tmp_path, "a/1.png", "b/1.png")
    (root / "a" / "self").symlink_to("self")
    (root / "loop").symlink_to("loop")
    assert [e.file for e in list_folder(root).splits["all"]] == ["a/1.png", "a/self", "b/1.png"]
    with pytest.raises(Undecodable, match="link that leads to itself"):
        decode(root / "a" / "self")


@pytest.mark.skipif(os.name != "posix", reason="only there can a name hold a line break")
def test_names_with_control_characters_and_of_255_bytes(tmp_path: Path) -> None:
    long = "x" * 251 + ".png"
    root = make(tmp_path, "a/line\nbreak.png", "a/tab\t.png", f"b/{long}", "b/\x7f\u2028.png")
    files = [entry.file for entry in list_folder(root).splits["all"]]
    assert files == ["a/line\\nbreak.png", "a/tab\\t.png", "b/\\x7f\\u2028.png", f"b/{long}"]
    for file in files[:3]:
        with pytest.raises(Undecodable, match="control character; rename it"):
            decode(root / file)
    assert decode(root / files[3]).shape == (3, 24, 24)


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    make(tmp_path, f"train/{composed}/1.png", "train/b/1.png", f"test/{decomposed}/1.png", "test/b/1.png")
    assert list_folder(tmp_path).classes == ("b", composed)


@pytest.mark.skipif(os.name != "posix", reason="only there can a name be any bytes")
def test_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png")
    (Path(os.fsencode(tmp_path).decode()) / os.fsdecode(b"a/\xe9.png")).write_bytes(PIXELS)
    make(Path(os.fsencode(tmp_path).decode()) / os.fsdecode(b"\xe9"), "1.png")
    listing = list_folder(tmp_path)
    files = [entry.file for entry in listing.splits["all"]]
    assert files == ["\\udce9/1.png", "a/1.png", "a/\\udce9.png", "b/1.png"]
    assert listing.classes == ("\\udce9", "a", "b")


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.png", "b/1.png")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"/b cannot be listed \(Permission denied\); make it readable or remove it"):
        list_folder(tmp_path)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_folder_in_a_class_that_may_not_be_listed_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: bool
) -> None:
    root, scandir = make(tmp_path, "a/1.png", "a/shut/2.png", "b/1.png"), os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("/shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_folder(root, trainable=trainable)
    assert [entry.file for entry in listing.splits["all"]] == ["a/1.png", "b/1.png"]
    assert listing.notes == ("left out: a/shut, because it cannot be listed: Permission denied",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no class folders with images; put the images of each class in a folder of its own"),
        (["1.png", "2.png"], "has no class folders with images"),
        (["only/1.png"], "has one class only, 'only'; two or more class folders are needed"),
        (["data/a/1.png", "data/b/1.png"], r"if the classes are inside it, name .*data"),
        (
            ["train/a/1.png", "train/b/1.png", "test/a/1.png"],
            "test/ has no images of class 'b', which train/ has; add them to every split",
        ),
        (
            ["train/a/1.png", "test/a/1.png", "test/b/1.png", "val/a/1.png", "val/b/1.png"],
            "train/ has no images of class 'b', which .*test/",
        ),
        (["train/a/1.png", "test/a/1.png"], "one class only, 'a'"),
    ],
)
def test_a_layout_that_is_none(tmp_path: Path, files: list[str], message: str) -> None:
    make(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        list_folder(tmp_path)


def test_a_list_of_what_to_leave_out_is_read_within_bounds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(20 * 10**9)
    for name, reason in (("pipe", "not a regular file"), ("huge", "20,000 MB, more than the 256 MB"), ("", "a folder")):
        with pytest.raises(InputError, match=rf"is no list of files \({reason}.*\): expected text, one file a line"):
            read_leaving(tmp_path / name)
    with pytest.raises(InputError, match="there is no list"):
        read_leaving(tmp_path / "none")
