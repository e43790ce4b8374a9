"""The command line: one verb a function; it parses, calls and prints."""

from cutaway.cli.app import main

__all__ = ["main"]
