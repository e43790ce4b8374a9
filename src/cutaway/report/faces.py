"""The contact sheet of a collection of faces: one HTML file that holds everything and needs no script."""

from __future__ import annotations

from pathlib import Path

from cutaway.care.faces import Collection
from cutaway.files import write_text
from cutaway.pages import Crumb, Shell, render
from cutaway.views.faces import view_faces
from cutaway.words import Words

SHEET = "faces.html"


def write_sheet(found: Collection, words: Words) -> Path:
    """Write the sheet into the destination, and return its path; an `InputError` if it cannot be written."""
    view = view_faces(found, words)
    shell = Shell(words("faces.title", name=view.title), (Crumb(words("faces.crumb")), Crumb(view.title)), frozen=True)
    page = found.destination / SHEET
    write_text(page, render("faces.html.j2", words, shell=shell, view=view))
    return page
