"""The page of an audit: one HTML file that holds everything and needs no script, and the list of what to leave out."""

from __future__ import annotations

from pathlib import Path

from cutaway.care.audit import Audit
from cutaway.data.leaving import write_leaving
from cutaway.files import write_text
from cutaway.pages import Crumb, Shell, render
from cutaway.views.audit import left_out, view_audit
from cutaway.words import Words


def write_audit(audited: Audit, page: Path, words: Words) -> tuple[Path, Path | None]:
    """Write the page, and beside it the list of files to leave out; a built-in set has no files, so no list.

    Returns:
        The paths of both.

    Raises:
        InputError: they cannot be written.
    """
    items, listed = left_out(audited, words), None
    if audited.headers is not None and items:
        listed = page.with_name(f"{page.stem}.leave-out.txt")
        write_leaving(listed, items)
    view = view_audit(audited, words, listed)
    shell = Shell(words("audit.title", name=view.title), (Crumb(words("audit.crumb")), Crumb(view.title)), frozen=True)
    write_text(page, render("audit.html.j2", words, shell=shell, view=view))
    return page, listed
