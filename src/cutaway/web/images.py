"""The image that a page looks at: one of the data, or one that somebody brought."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes, write_bytes
from cutaway.pictures.stills import picture_of, png
from cutaway.plain import short, whole
from cutaway.web.here import MAX_NUMBER, Here
from cutaway.web.security import MAX_UPLOAD
from cutaway.web.site import HIDDEN, Site
from cutaway.web.subject import Subject

UPLOADS = f"{HIDDEN}/uploads"
_OF_DATA = re.compile("(train|val|test):([0-9]{1,9})")
_UPLOADED = re.compile(r"upload:([0-9a-f]{16})")
SPLITS = ("test", "val", "train")


@dataclass(frozen=True, eq=False)
class Chosen:
    """One image as the network takes it.

    Attributes:
        name: as in an address: `test:412` or `upload:0123456789abcdef`.
        pixels: uint8 (C, H, W), of the network's input size.
        label: its true class by name; "" if nobody knows.
        target: its true class by number; None if nobody knows.
        file: where it comes from, for people.
        original: height and width before it was fitted.
        key: the same for the same pixels.
    """

    name: str
    pixels: NDArray[np.uint8]
    label: str
    target: int | None
    file: str
    original: tuple[int, int]
    key: str

    def png(self) -> bytes:
        """As a PNG, a pixel a pixel."""
        return png(picture_of(self.pixels))


def chosen_image(here: Here, subject: Subject) -> Chosen | None:
    """The image of `?image=`; the first of the data without it; None for a model without data, or that sees none."""
    if not subject.sees:
        return None
    name = here.request.query_params.get("image", "")
    if name:
        return find_image(subject, name)
    split = next((split for split in SPLITS if split in subject.splits()), None)
    if split is None or subject.unseen:
        return None
    return find_image(subject, f"{split}:0")


def find_image(subject: Subject, name: str, owner: Subject | None = None) -> Chosen:
    """The image of that name, as `subject` takes it; out of the data of `owner` if that is another.

    Raises:
        InputError: a name of another form, or an image that is not there.
    """
    name = f"test:{name}" if whole(name, 0, MAX_NUMBER) is not None else name
    uploaded = _UPLOADED.fullmatch(name)
    place = _OF_DATA.fullmatch(name)
    if not uploaded and not place:
        raise InputError(f"'{short(name)}' names no image; write test:412, or bring an image of your own")
    owner = owner or subject
    key = ("image", *subject.key, owner.name, name)
    if uploaded:
        found: Chosen = subject.site.values.get(key, lambda: _uploaded(subject, name, uploaded[1]))
        return found
    assert place is not None
    return _of_data(subject, owner, name, place[1], int(place[2]))


def _of_data(subject: Subject, owner: Subject, name: str, split: str, number: int) -> Chosen:
    from cutaway.data.pixels import fitted

    data = owner.dataset()
    if data is None:
        raise InputError(f"{owner.name} has no data to take {name} from; bring an image of your own")
    if split not in data.splits or number >= len(data.splits[split]):
        sizes = ", ".join(f"{one} 0 to {len(part) - 1}" for one, part in data.splits.items())
        raise InputError(f"there is no image {name}; there are {sizes}")
    part = data.splits[split]
    raw = np.asarray(part.images[[number]][0])
    pixels = fitted(raw[None], subject.shape)[0] if subject.shape else raw
    target = int(part.labels[number])
    label = data.classes[target] if 0 <= target < len(data.classes) else ""
    file = part.files[number] if part.files is not None else ""
    same = data.classes == (subject.classes or data.classes)
    return Chosen(
        name, pixels, label, target if same else None, file, (raw.shape[1], raw.shape[2]), _hash(pixels.tobytes())
    )


def _uploaded(subject: Subject, name: str, digest: str) -> Chosen:
    path = subject.site.folder / UPLOADS / digest
    try:
        content = read_bytes(path, MAX_UPLOAD)
    except Unreadable as error:
        raise InputError(f"the image {name} is no longer kept ({error}); bring it again") from error
    shape = subject.shape
    if shape is None:
        raise InputError(f"{subject.name} does not say its input size, so an image cannot be fitted to it")
    pixels = _decoded(content, shape)
    return Chosen(name, pixels, "", None, "", original_size(content), _hash(pixels.tobytes()))


def _decoded(content: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from cutaway.data import Undecodable, decode

    try:
        return decode(content, size=(shape[1], shape[2]), channels=shape[0])
    except Undecodable as error:
        raise InputError(f"the image cannot be read: {error}") from error


def original_size(content: bytes) -> tuple[int, int]:
    """Height and width of an image file, as people see it."""
    from cutaway.data.decode import probe

    header = probe(content)
    return header.height, header.width


def keep_upload(site: Site, content: bytes) -> str:
    """Keep an image file that somebody brought; its name for addresses.

    Raises:
        InputError: it cannot be decoded, or the folder cannot be written.
    """
    _decoded(content, (3, 8, 8))
    digest = _hash(content)
    write_bytes(site.folder / UPLOADS / digest, content)
    return f"upload:{digest}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
