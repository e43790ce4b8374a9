"""The microscope: a local web server over the views. Knows no torch."""

from cutaway.web.app import create_app
from cutaway.web.site import Site

__all__ = ["Site", "create_app"]
