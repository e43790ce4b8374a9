"""The `cutaway` program: its verbs and its way of telling mistakes."""

from __future__ import annotations

import os
import sys

import typer

from cutaway.errors import InputError

app = typer.Typer(
    name="cutaway",
    help="Train an image classifier and see inside it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _version(version: bool = typer.Option(False, "--version", is_eager=True, help="Print the version.")) -> None:
    if version:
        from cutaway import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run a verb; a mistake in the input is one line on stderr and exit code 2."""
    from cutaway.cli import looking, training  # noqa: F401  # importing registers their verbs

    try:
        app(prog_name="cutaway")
    except InputError as error:
        sys.exit(_tell(str(error)))
    except BrokenPipeError:
        # The reader (`| head`) has closed; point stdout elsewhere so that Python's exit does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("cutaway: stopped", file=sys.stderr)
        sys.exit(130)


def _tell(sentence: str) -> int:
    print(f"cutaway: {' '.join(sentence.split())}", file=sys.stderr)
    return 2
