"""The command line: one verb a function; it parses, calls and prints."""

from cutaway.cli.process import main

__all__ = ["main"]
