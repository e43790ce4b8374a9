"""Faces: found in photographs, aligned by the eyes, cut out."""

from cutaway.care.faces.collection import Collection, collect_faces
from cutaway.care.faces.settings import Settings

__all__ = ["Collection", "Settings", "collect_faces"]
