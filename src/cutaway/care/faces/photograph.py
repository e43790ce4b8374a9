"""One photograph: its faces found, cut out and written, or the reason why not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from cutaway.care.faces.detector import Face, Undetected, find_faces
from cutaway.care.faces.geometry import cut, tight_frame, widened
from cutaway.care.faces.settings import Settings
from cutaway.data.decode import Undecodable, decode, probe, read
from cutaway.data.folder import Entry
from cutaway.data.measures import sharpness, to_grey
from cutaway.files import write_with

CROPPED, REFUSED, NOBODY, UNREADABLE = OUTCOMES = ("cropped", "refused", "nobody", "unreadable")
_SHARPNESS_SIDE = 112
_MOST_PIXELS = 50_000_000  # a larger photograph is shrunk by a whole number


@dataclass(frozen=True)
class Crop:
    """A face that was looked at.

    Attributes:
        file: the crop, relative to the destination; "" where it was refused.
        box: left, top, width, height in the photograph.
        score: how sure the detector is, 0..1.
        side: of the tight frame, in pixels of the photograph.
        sharpness: variance of the Laplacian at 112x112.
        outside: the share of the crop beyond the photograph's edge.
        refused: why it was not kept: "tiny" or "blurred"; "" where it was.
    """

    file: str
    box: tuple[float, ...]
    score: float
    side: float
    sharpness: float
    outside: float
    refused: str = ""

    def is_sound(self) -> bool:
        """Whether it is what a record may hold: its file inside the destination, its numbers numbers."""
        place = PurePosixPath(self.file) if isinstance(self.file, str) else PurePosixPath("..")
        numbers = (*self.box, self.score, self.side, self.sharpness, self.outside)
        inside = not place.is_absolute() and ".." not in place.parts and "\0" not in str(place)
        sound = all(isinstance(number, int | float) for number in numbers) and len(self.box) == 4
        return inside and sound and self.refused in ("", "tiny", "blurred")


@dataclass(frozen=True)
class Photograph:
    """What became of a photograph.

    Attributes:
        file: relative to the source.
        size, changed: the file's, to know it again.
        outcome: "cropped", "refused" (every face was), "nobody" or "unreadable".
        reason: why it is unreadable, or what else is to be known of it.
        found: how many faces are on it.
        crops: the faces that were looked at, the largest first.
    """

    file: str
    size: int
    changed: int
    outcome: str
    reason: str = ""
    found: int = 0
    crops: tuple[Crop, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Photograph:
        """From what `as_dict` gave; anything else is a `ValueError`."""
        try:
            one = Photograph(**{**values, "crops": tuple(Crop(**crop) for crop in values["crops"])})
            sound = [isinstance(one.file, str), isinstance(one.reason, str), one.outcome in OUTCOMES]
            sound += [isinstance(number, int) for number in (one.size, one.changed, one.found)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no photograph: {error}") from error
        if not all(sound) or not all(crop.is_sound() for crop in one.crops):
            raise ValueError(f"no photograph: {one.file}")
        return one


def process(root: Path, destination: Path, settings: Settings, job: tuple[Entry, str]) -> Photograph:
    """Cut the faces out of one photograph below `root`, and write them below `destination`.

    Args:
        root: the folder of photographs; nothing in it is changed.
        destination: the folder of crops.
        settings: how.
        job: the file, and the path of its crop without the ending.
    """
    entry, name = job
    known = (entry.file, entry.size, entry.changed)
    try:
        content = read(root / entry.file)
        pixels = decode(content, most=_MOST_PIXELS)
        scale = max(1.0, probe(content).width / pixels.shape[2])
        faces, dropped = find_faces(pixels)
    except (Undecodable, Undetected) as error:
        return Photograph(*known, UNREADABLE, str(error))
    reason = f"no face can be where the detector says ({dropped} times)" if dropped else ""
    if not faces:
        return Photograph(*known, NOBODY, reason)
    chosen = faces if settings.every else faces[:1]
    endings = ["", *(f".face{number}" for number in range(2, len(chosen) + 1))]
    crops = tuple(
        _crop(pixels, face, scale, destination, f"{name}{ending}.jpg", settings)
        for face, ending in zip(chosen, endings, strict=True)
    )
    outcome = CROPPED if any(crop.file for crop in crops) else REFUSED
    return Photograph(*known, outcome, reason, len(faces), crops)


def _crop(pixels: np.ndarray, face: Face, scale: float, destination: Path, file: str, settings: Settings) -> Crop:
    """A face of a photograph that was shrunk by `scale`; what is told of it is in pixels of the file."""
    tight = tight_frame(face.eyes, face.mouth)
    frame = widened(tight, settings.margin)
    crop = cut(pixels, frame, settings.size)
    sharp = float(sharpness(to_grey(cut(pixels, frame, _SHARPNESS_SIDE)[None]))[0])
    refused = "tiny" if scale * tight.side < settings.min_face else "blurred" if sharp < settings.min_sharpness else ""
    if not refused:
        image = Image.fromarray(crop.transpose(1, 2, 0))
        write_with(destination / file, lambda out: image.save(out, "JPEG", quality=95, subsampling=0))
    return Crop(
        "" if refused else file,
        tuple(round(scale * value, 1) for value in face.box),
        round(face.score, 4),
        round(scale * tight.side, 1),
        round(sharp, 1),
        round(frame.outside(*pixels.shape[1:]), 4),
        refused,
    )
