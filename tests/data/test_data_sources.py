from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutaway.data import load_data, readers, sources
from cutaway.data.readers import (
    Unusable,
    read_cifar10,
    read_cifar100,
    read_cifar_records,
    read_fashion_mnist,
    read_idx,
    read_mnist,
)
from cutaway.errors import InputError

FASHION = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
MNIST = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def pixels(count: int, seed: int, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx_files(first: list[int], packed: bool = True, joint: str = "-") -> dict[str, bytes]:
    """The four files of a tiny set: 60 training images, six a class, and 20 test images."""
    labels = np.array(first + [n % 10 for n in range(50)], dtype=np.uint8)
    parts = {
        "train-images#idx3-ubyte": pixels(60, 0),
        "train-labels#idx1-ubyte": labels,
        "t10k-images#idx3-ubyte": pixels(20, 1),
        "t10k-labels#idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
    }
    pack, end = (gzip.compress, ".gz") if packed else (bytes, "")
    return {name.replace("#", joint) + end: pack(idx(array)) for name, array in parts.items()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# Ten classes need three images each for the split, which this first label list of Fashion-MNIST gives with the rest.
def test_fashion_mnist_from_tiny_files(tmp_path: Path) -> None:
    write(tmp_path / "fashion-mnist", idx_files(FASHION))
    data = load_data("fashion-mnist", data_dir=tmp_path)
    assert data.shape == (1, 6, 5)
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    assert len(data.splits["train"]) + len(data.splits["val"]) == 60
    assert (data.splits["test"].images[:] == pixels(20, 1)[:, None]).all()
    assert data.splits["test"].labels.tolist() == [n % 10 for n in range(20)]
    assert data.splits["train"].files is None
    assert data.notes == (f"fashion-mnist found in {tmp_path / 'fashion-mnist'}",)
    together = np.concatenate([data.splits[name].images[:] for name in ("train", "val")])
    assert {image.tobytes() for image in together} == {image.tobytes() for image in pixels(60, 0)}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("joint", ["-", "."])
def test_idx_names_and_packing(tmp_path: Path, packed: bool, joint: str) -> None:
    _, arrays = read_mnist(write(tmp_path, idx_files(MNIST, packed, joint)))
    assert (arrays["train"][0] == pixels(60, 0)[:, None]).all()
    assert arrays["train"][1].dtype == np.int64


def test_the_twins_are_not_taken_for_each_other(tmp_path: Path) -> None:
    fashion, digits = write(tmp_path / "f", idx_files(FASHION)), write(tmp_path / "m", idx_files(MNIST))
    with pytest.raises(Unusable, match="its files are those of fashion-mnist, not of mnist"):
        read_mnist(fashion)
    with pytest.raises(Unusable, match="its files are those of mnist, not of fashion-mnist"):
        read_fashion_mnist(digits)
    assert read_mnist(digits)[0][7] == "7"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file"),
        (idx(pixels(3, 0))[:-1], "does not fit its shape"),
        (idx(pixels(3, 0)) + b"x", "does not fit its shape"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Unusable, match=message):
        read_idx(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(Unusable, match=r"a.gz cannot be read"):
        read_idx(tmp_path / "a.gz")


def test_images_and_labels_that_do_not_belong_together(tmp_path: Path) -> None:
    files = idx_files(MNIST)
    files["train-labels-idx1-ubyte.gz"] = files["t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(Unusable, match="do not belong together"):
        read_mnist(write(tmp_path, files))


def cifar10_files() -> dict[str, bytes]:
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    files = {"batches.meta.txt": b"zero\none\ntwo\n\n"}
    for turn, name in enumerate(names):
        images = pixels(6, turn, (3072,))
        files[name] = b"".join(bytes([n % 3]) + image.tobytes() for n, image in enumerate(images))
    return files


def cifar100_files() -> dict[str, bytes]:
    files = {"fine_label_names.txt": b"apple\nbear\n"}
    for turn, name in enumerate(("train.bin", "test.bin")):
        images = pixels(8, turn, (3072,))
        files[name] = b"".join(bytes([9, n % 2]) + image.tobytes() for n, image in enumerate(images))
    return files


def archive(files: dict[str, bytes], inner: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{inner}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("layout", ["files", "unpacked", "archive"])
def test_cifar10_records(tmp_path: Path, layout: str) -> None:
    if layout == "archive":
        write(tmp_path, {"cifar-10-binary.tar.gz": archive(cifar10_files(), "cifar-10-batches-bin")})
    else:
        write(tmp_path / ("cifar-10-batches-bin" if layout == "unpacked" else ""), cifar10_files())
    classes, arrays = read_cifar10(tmp_path)
    assert classes == ("zero", "one", "two")
    assert arrays["train"][0].shape == (30, 3, 32, 32)
    assert (arrays["train"][0][6:12].reshape(6, 3072) == pixels(6, 1, (3072,))).all()
    assert arrays["test"][1].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("layout", ["unpacked", "archive"])
def test_cifar100_counts_the_fine_label(tmp_path: Path, layout: str) -> None:
    if layout == "archive":
        write(tmp_path, {"cifar-100-binary.tar.gz": archive(cifar100_files(), "cifar-100-binary")})
    else:
        write(tmp_path / "cifar-100-binary", cifar100_files())
    classes, arrays = read_cifar100(tmp_path)
    assert classes == ("apple", "bear")
    assert arrays["test"][1].tolist() == [0, 1] * 4
    assert (arrays["test"][0].reshape(8, 3072) == pixels(8, 1, (3072,))).all()


def test_cifar10_through_load_data(tmp_path: Path) -> None:
    write(tmp_path, {"cifar-10-binary.tar.gz": archive(cifar10_files(), "cifar-10-batches-bin")})
    data = load_data("cifar10", data_dir=tmp_path)
    assert data.shape == (3, 32, 32)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 27, "val": 3, "test": 6}


def test_the_pickled_version_is_named_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path / "cifar-10-batches-py", {"data_batch_1": b"cos\nsystem\n(S'touch owned'\ntR."})
    with pytest.raises(InputError, match=r"only the pickled version, which is never opened; cifar-10-binary.tar.gz"):
        load_data("cifar10", data_dir=tmp_path, download=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no whole number of records"),
        (bytes(3074), "no whole number"),
        (b"\x09" + bytes(3072), "label 9, and only 3"),
    ],
)
def test_damaged_cifar_records(content: bytes, message: str) -> None:
    with pytest.raises(Unusable, match=message):
        read_cifar_records(content, 1, 3)


def test_a_damaged_archive(tmp_path: Path) -> None:
    content = archive(cifar10_files(), "cifar-10-batches-bin")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(Unusable, match=r"cifar-10-binary.tar.gz cannot be read"):
        read_cifar10(tmp_path)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive({"other": b"x"}, "cifar-10-batches-bin"))
    with pytest.raises(Unusable, match=r"cifar-10-binary.tar.gz cannot be read"):
        read_cifar10(tmp_path)


def test_size_and_channels_override_a_built_in_set(tmp_path: Path) -> None:
    write(tmp_path, idx_files(FASHION))
    data = load_data("fashion-mnist", data_dir=tmp_path, size=8, channels=3)
    assert data.shape == (3, 8, 8)
    images = data.splits["test"].images[:]
    assert (images[:, 0] == images[:, 2]).all()
    side = Image.fromarray(pixels(20, 1)[4]).resize((8, 8), Image.Resampling.BICUBIC, box=(0.0, 0.5, 5.0, 5.5))
    assert (images[4, 0] == np.asarray(side)).all()


def test_the_order_of_places(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SYSTEM", (tmp_path / "system",))
    homes = [tmp_path / "mine", cache / "datasets" / "fashion-mnist", tmp_path / "system" / "fashion-mnist"]
    for home in homes:
        write(home, idx_files(FASHION))
    for home in homes:
        data = load_data("fashion-mnist", data_dir=tmp_path / "mine")
        assert data.notes == (f"fashion-mnist found in {home}",)
        for file in home.iterdir():
            file.unlink()


class Net:
    """A pretended network: files by address, and what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, url: str) -> Any:
        self.asked.append(url)
        if url not in self.files:
            raise OSError("host not found")
        answer: Any = io.BytesIO(self.files[url])
        answer.headers = {"Content-Length": str(len(self.files[url]))}
        return answer


def published(files: dict[str, bytes]) -> Any:
    resources = [(name, hashlib.md5(content, usedforsecurity=False).hexdigest()) for name, content in files.items()]
    return lambda: (["http://one/", "http://two/"], resources)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    files = idx_files(FASHION)
    source = sources._SOURCES["fashion-mnist"]
    fake = sources._Source(source.folders, source.read, published(files), source.package)
    monkeypatch.setitem(sources._SOURCES, "fashion-mnist", fake)
    pretended = Net({f"http://two/{name}": content for name, content in files.items()})
    monkeypatch.setattr(sources, "_answer", pretended)
    return pretended


def test_a_download_tries_every_mirror_checks_md5_and_is_kept(net: Net, cache: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    one = load_data("fashion-mnist", progress=lambda *call: seen.append(call))
    assert net.asked[:2] == ["http://one/train-images-idx3-ubyte.gz", "http://two/train-images-idx3-ubyte.gz"]
    assert seen[0][0] == "downloading train-images-idx3-ubyte.gz"
    assert one.notes == (f"fashion-mnist found in {cache / 'datasets' / 'fashion-mnist'}",)
    asked = len(net.asked)
    assert load_data("fashion-mnist").fingerprint == one.fingerprint
    assert len(net.asked) == asked


def test_a_download_goes_into_data_dir(net: Net, tmp_path: Path) -> None:
    load_data("fashion-mnist", data_dir=tmp_path)
    assert len(list((tmp_path / "fashion-mnist").iterdir())) == 4


def test_a_wrong_md5_is_not_kept(net: Net, cache: Path) -> None:
    for url in net.files:
        net.files[url] += b"!"
    with pytest.raises(InputError, match="not the published file, its md5 is wrong"):
        load_data("fashion-mnist")
    assert not list((cache / "datasets").rglob("*.gz"))


def test_no_download_when_it_is_not_wanted(net: Net) -> None:
    with pytest.raises(InputError, match=r"download \(not allowed\)"):
        load_data("fashion-mnist", download=False)
    assert net.asked == []


def test_the_error_names_every_place_and_the_way_out(net: Net, tmp_path: Path, cache: Path) -> None:
    net.files.clear()
    with pytest.raises(InputError) as caught:
        load_data("fashion-mnist", data_dir=tmp_path)
    message = str(caught.value)
    for part in (
        f"fashion-mnist was not found; tried {tmp_path} (no train-images-idx3-ubyte.gz)",
        str(cache / "datasets"),
        str(cache / "no-system-copies" / "fashion-mnist"),
        "http://one/train-images-idx3-ubyte.gz: host not found; http://two/",
        "`apt-get install dataset-fashion-mnist`",
        "--data-dir",
        "'shapes'",
    ):
        assert part in message
    assert "\n" not in message


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SECONDS", 0.05)
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *_, **__: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within"):
        sources._answer("http://nowhere/")
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10", "cifar100"])
def test_every_published_file_has_an_address_and_an_md5(name: str) -> None:
    mirrors, files = sources._SOURCES[name].published()
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in mirrors)
    assert all(len(md5) == 32 for _, md5 in files)
    assert not [file for file, _ in files if "python" in file]


def test_a_packed_idx_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_MOST", 100_000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(np.zeros(50_000_000, np.uint8))))
    tracemalloc.start()
    try:
        with pytest.raises(Unusable, match=r"a\.gz unpacks to more than 0 MB"):
            read_idx(tmp_path / "a.gz")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    (tmp_path / "b.gz").write_bytes(gzip.compress(idx(np.zeros(50, np.uint8))))
    assert read_idx(tmp_path / "b.gz").shape == (50,)


@pytest.mark.parametrize("sizes", [(2**31 - 1, 2**31 - 1), (-1, 1)])
def test_an_idx_file_that_lies_about_its_shape(tmp_path: Path, sizes: tuple[int, int]) -> None:
    shape = b"".join(size.to_bytes(4, "big", signed=True) for size in sizes)
    (tmp_path / "a").write_bytes(b"\0\0\x08\2" + shape + bytes(1))
    with pytest.raises(Unusable, match="does not fit its shape"):
        read_idx(tmp_path / "a")


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        filler = tarfile.TarInfo("filler")
        filler.size = 3_000_000
        tar.addfile(filler, io.BytesIO(bytes(filler.size)))
    monkeypatch.setattr(readers, "_MOST_UNPACKED", 1_000_000)
    with pytest.raises(Unusable, match="it unpacks to more than 1 MB"):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"])
def test_a_huge_file_is_not_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(20 * 10**9)
    with pytest.raises(Unusable, match="20,000 MB, more than the 256 MB that are read"):
        read_mnist(tmp_path)
