"""Who may ask what: this machine's own pages only, with a strict content policy on every answer."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cutaway.plain import whole
from cutaway.words import choose, words

NAMES = ("127.0.0.1", "localhost", "[::1]")
MAX_UPLOAD = 20_000_000  # bytes of one request
_SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses requests for another host, from another site's page, or too large; adds the policy to every answer.

    A page of another site can make a browser ask this server: by a name that it points to 127.0.0.1 (so the Host is
    checked), or by a form or an image of its own (so Origin and Sec-Fetch-Site are).
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self._elsewhere = (
            f"this server answers only to 127.0.0.1:{port} and localhost:{port}; forward the same port on both sides "
            f"(ssh -L {port}:127.0.0.1:{port} MACHINE), or start the server with --port and your side's"
        )
        self.hosts = {f"{name}:{port}" for name in NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a good request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reason = self._refusal(scope["method"], Headers(scope=scope))
        if reason:
            code, sentence = reason
            say = words(choose(Headers(scope=scope).get("accept-language")))
            await PlainTextResponse(say.said(sentence), code, HEADERS)(scope, receive, send)
            return
        await self.app(scope, _limited(receive), _with_policy(send))

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Why a request is refused, or None."""
        if headers.get("host", "") not in self.hosts:
            return 421, self._elsewhere
        # A link on another page may open this one; its images, scripts and forms may not reach here.
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and (method not in _SAFE or headers.get("sec-fetch-mode") != "navigate"):
            return 403, "requests from pages of other sites are refused"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc not in self.hosts:
            return 403, "requests from pages of other sites are refused"
        if (whole(headers.get("content-length") or "0", 0, 10**15) or 0) > MAX_UPLOAD:
            return 413, f"the upload is larger than {MAX_UPLOAD // 1_000_000} MB; make the image smaller"
        return None


def _limited(receive: Receive) -> Receive:
    """Stops a body that grows beyond the limit, whatever its header said."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > MAX_UPLOAD:
            raise HTTPException(413, f"the upload is larger than {MAX_UPLOAD // 1_000_000} MB; make the image smaller")
        return message

    return limited


def _with_policy(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
