"""Running the server on this machine."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import uvicorn

from cutaway.computing.process import set_up
from cutaway.errors import InputError
from cutaway.signals import Stopped, handling
from cutaway.web.app import create_app
from cutaway.web.jobs import Jobs
from cutaway.web.site import Site

HOST = "127.0.0.1"


def serve(site: Site, port: int, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve until Ctrl-C or another signal that ends programs.

    Args:
        site: what is shown.
        port: 1 to 65535, or 0 for a free one.
        ready: called with the address once the port is ours.

    Raises:
        InputError: the folder does not exist, or the port is in use.
        Stopped: by which signal it ended.
    """
    set_up()
    if not Path(site.folder).is_dir():
        raise InputError(f"there is no folder {site.folder}; name the one that holds your runs, or train first")
    with listening(port) as ours:
        number = int(ours.getsockname()[1])
        app = create_app(site, number)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        ready(f"http://{HOST}:{number}/")
        # The first page about a network would otherwise wait seconds for torch.
        threading.Thread(target=_warm, daemon=True).start()
        server = uvicorn.Server(config)
        with _stopping(server, app.state.jobs):
            app.state.jobs.keep_going()
            server.run(sockets=[ours])


@contextmanager
def _stopping(server: uvicorn.Server, jobs: Jobs) -> Iterator[None]:
    """The first signal ends the server and then the workers, and is raised when they are gone; a second ends at once.

    Raises:
        Stopped: after a signal.
    """
    came: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if came:
            jobs.kill()
            os._exit(128 + number)
        came.append(number)
        server.should_exit = True

    # uvicorn's own would end the process before the workers.
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]  # it is called alike
    with handling(ask):
        try:
            yield
        finally:
            jobs.stop()
    if came:
        raise Stopped(came[0])


def listening(port: int) -> socket.socket:
    """A socket on this machine's own address alone; a port that is taken is one clear sentence."""
    ours = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        ours.bind((HOST, port))
        ours.listen(128)  # from now on the address answers, if only after the server has started
    except OSError as error:
        ours.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            taken = "is in use by another program" if error.errno == errno.EADDRINUSE else "needs more rights"
            raise InputError(f"port {port} {taken}; choose another with --port, or --port 0 for any") from error
        raise
    return ours


def _warm() -> None:
    import cutaway.scope  # noqa: F401  # loading it is the work
