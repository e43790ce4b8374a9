"""One photograph: its faces found, cut out and written, or the reason why not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutaway.care.faces.detector import Face, find_faces
from cutaway.care.faces.geometry import cut, tight_frame, widened
from cutaway.care.faces.settings import Settings
from cutaway.data.decode import Undecodable, decode
from cutaway.data.folder import Entry
from cutaway.data.measures import sharpness, to_grey
from cutaway.files import write_with

CROPPED, REFUSED, NOBODY, UNREADABLE = "cropped", "refused", "nobody", "unreadable"
_SHARPNESS_SIDE = 112
_FRAME = 4.0  # times the photograph's longer side; the largest margin makes a frame of five faces
_LONGEST = 200  # letters of what a detector says


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


@dataclass(frozen=True)
class Photograph:
    """What became of a photograph.

    Attributes:
        file: relative to the source.
        size, changed: the file's, to know it again.
        outcome: "cropped", "refused" (every face was), "nobody" or "unreadable".
        reason: why it is unreadable.
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
        """From what `as_dict` gave."""
        return Photograph(**{**values, "crops": tuple(Crop(**crop) for crop in values["crops"])})


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
        pixels = decode(root / entry.file)
    except Undecodable as error:
        return Photograph(*known, UNREADABLE, str(error))
    try:
        faces = find_faces(pixels)
    except Exception as error:  # the detector is somebody else's, and no single photograph may end a collection
        return Photograph(*known, UNREADABLE, f"the detector failed on it ({_words(error)})")
    faces = [face for face in faces if fits(face, settings, pixels.shape[1:])]
    if not faces:
        return Photograph(*known, NOBODY)
    chosen = faces if settings.every else faces[:1]
    endings = ["", *(f".face{number}" for number in range(2, len(chosen) + 1))]
    crops = tuple(
        _crop(pixels, face, destination, f"{name}{ending}.jpg", settings)
        for face, ending in zip(chosen, endings, strict=True)
    )
    outcome = CROPPED if any(crop.file for crop in crops) else REFUSED
    return Photograph(*known, outcome, found=len(faces), crops=crops)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def fits(face: Face, settings: Settings, size: tuple[int, ...]) -> bool:
    """Whether the frame around a face is one of the photograph (H, W), and no giant that lies around it."""
    return widened(tight_frame(face.eyes, face.mouth), settings.margin).side <= _FRAME * max(size)


def _crop(pixels: np.ndarray, face: Face, destination: Path, file: str, settings: Settings) -> Crop:
    tight = tight_frame(face.eyes, face.mouth)
    frame = widened(tight, settings.margin)
    crop = cut(pixels, frame, settings.size)
    sharp = float(sharpness(to_grey(cut(pixels, frame, _SHARPNESS_SIDE)[None]))[0])
    refused = "tiny" if tight.side < settings.min_face else "blurred" if sharp < settings.min_sharpness else ""
    if not refused:
        image = Image.fromarray(crop.transpose(1, 2, 0))
        write_with(destination / file, lambda out: image.save(out, "JPEG", quality=95, subsampling=0))
    return Crop(
        "" if refused else file,
        tuple(round(value, 1) for value in face.box),
        round(face.score, 4),
        round(tight.side, 1),
        round(sharp, 1),
        round(frame.outside(*pixels.shape[1:]), 4),
        refused,
    )
