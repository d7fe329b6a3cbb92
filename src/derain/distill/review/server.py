"""A web server for one person at this computer, on Starlette and uvicorn.

It answers only to this computer and only under its own name (a foreign Host header is a web site whose name was made to
point here), and takes what is sent only from its own pages: these know a token that is drawn when the server starts.
"""

import errno
import hmac
import json
import os
import secrets
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from derain.errors import DerainError, DistillError, MissingExtraError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response as HttpResponse

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
TOKEN_HEADER = "X-Derain-Token"
TOKEN_MARK = "{{token}}"
"""Where a page holds the token."""

_LARGEST_BODY = 64 * 1024
_STORING_S = 10
"""How long the server waits at its end for what is being stored."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Request:
    """What a page asks for."""

    path: Mapping[str, str]
    """The named parts of the route's path."""
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)
    """What was sent, for a POST."""


@dataclass(frozen=True)
class Jpeg:
    """A picture that the browser may keep."""

    content: bytes


class BadRequest(Exception):  # noqa: N818 -- a status, not a fault of ours
    """What a page sent is not what was wanted; the page shows why."""


Answer = Mapping[str, Any] | Jpeg | None
"""JSON, a picture, or nothing under this path."""
Handler = Callable[[Request], Answer]
"""Threads call it at the same time; it may raise `BadRequest`, or `DerainError`, whose message the page shows."""


@dataclass(frozen=True)
class Application:
    """What a server serves beside the styles and scripts of the package."""

    page: str
    """File of the page, in `pages`."""
    get: Mapping[str, Handler]
    """By path, whose named parts stand in braces, such as `/picture/{digest}`."""
    post: Mapping[str, Handler]
    on_load: Callable[[], None] = lambda: None
    """Called when the page is loaded."""


class LocalServer:
    """Serves an application on this computer; bound when it is made.

    Args:
        application: what is served.
        host: a name or address of this computer itself.
        port: 0 for any that is free.

    Raises:
        DistillError: another host, or the port is taken or may not be used.
        MissingExtraError: Starlette or uvicorn is not installed.
    """

    def __init__(self, application: Application, host: str = "127.0.0.1", port: int = 0) -> None:
        if host not in LOOPBACK_HOSTS:
            raise DistillError(
                f"host {host}: the page knows no passwords and is served to this computer only; use 127.0.0.1, and "
                f"reach it from elsewhere through `ssh -L {port}:127.0.0.1:{port}`"
            )
        try:
            import uvicorn
        except ImportError as error:
            raise MissingExtraError("the review page", "distill") from error
        self._socket = _bound(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{host}:{self.port}/"
        self.token = secrets.token_urlsafe(24)
        self._names = {f"{name}:{self.port}" for name in LOOPBACK_HOSTS}
        self._server = uvicorn.Server(
            uvicorn.Config(
                _starlette(application, self),
                http="h11",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="critical",  # the terminal is the person's, who sees on the page what happens
                timeout_graceful_shutdown=_STORING_S,
            )
        )
        self._thread: threading.Thread | None = None

    def serve_until_interrupted(self) -> None:
        """Serve until Ctrl-C; what was being stored is stored before this returns."""
        with suppress(KeyboardInterrupt):
            self._server.run([self._socket])

    def has_name(self, request: "HttpRequest") -> bool:
        """Whether a request was sent to this server under its own name."""
        return request.headers.get("host", "").lower() in self._names

    def is_from_own_page(self, request: "HttpRequest") -> bool:
        """Whether a request was sent by a page that this server gave out."""
        origin = request.headers.get("origin", self.url)
        given = request.headers.get(TOKEN_HEADER, "").encode("latin-1", "replace")
        return (
            origin.removeprefix("http://").removesuffix("/").lower() in self._names
            and request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
            and hmac.compare_digest(given, self.token.encode())
        )

    def __enter__(self) -> Self:
        """Serve beside the caller, until the block ends."""
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()


def _starlette(application: Application, server: LocalServer) -> "Starlette":
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    page = (files("derain.distill.review") / "pages" / application.page).read_text("utf-8")

    async def guard(request: "HttpRequest", call_next: RequestResponseEndpoint) -> "HttpResponse":
        is_for_us = server.has_name(request)
        response = await call_next(request) if is_for_us else _message(403, f"wanted a request for {server.url}")
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def load(_request: "HttpRequest") -> "HttpResponse":
        return await run_in_threadpool(_answered, application.on_load) or HTMLResponse(
            page.replace(TOKEN_MARK, server.token)
        )

    def get(handler: Handler) -> Callable[["HttpRequest"], Any]:
        async def endpoint(request: "HttpRequest") -> "HttpResponse":
            asked = Request(request.path_params, request.query_params)
            return await run_in_threadpool(_answered, lambda: handler(asked)) or _nothing()

        return endpoint

    def post(handler: Handler) -> Callable[["HttpRequest"], Any]:
        async def endpoint(request: "HttpRequest") -> "HttpResponse":
            sent = await _body(request)
            if sent is None:
                return _message(413, f"wanted at most {_LARGEST_BODY} bytes")
            if not server.is_from_own_page(request):
                return _message(403, "this page belongs to a server that has ended; reload it")
            try:
                body = json.loads(sent)
            except ValueError:
                body = None
            if not isinstance(body, dict):
                return _message(400, "wanted a JSON object")
            asked = Request(request.path_params, request.query_params, body)
            return await run_in_threadpool(_answered, lambda: handler(asked)) or _nothing()

        return endpoint

    async def no_route(_request: "HttpRequest", _error: Exception) -> "HttpResponse":
        return _nothing()

    app = Starlette(
        routes=[
            Route("/", load),
            Mount("/static", StaticFiles(packages=[("derain.distill.review", "pages")])),
            *(Route(path, get(handler), methods=["GET"]) for path, handler in application.get.items()),
            *(Route(path, post(handler), methods=["POST"]) for path, handler in application.post.items()),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
        exception_handlers={HTTPException: no_route},
    )
    app.router.redirect_slashes = False
    return app


async def _body(request: "HttpRequest") -> bytes | None:
    """What was sent; None where it is too long. All of it is read, or the browser sees no answer."""
    body = b""
    async for part in request.stream():
        if len(body) <= _LARGEST_BODY:
            body += part
    return body if len(body) <= _LARGEST_BODY else None


def _answered(work: Callable[[], Answer]) -> "HttpResponse | None":
    """What came of it as a response; None for nothing."""
    from starlette.responses import JSONResponse, Response

    try:
        answer = work()
    except BadRequest as error:
        return _message(400, str(error))
    except DerainError as error:
        return _message(409, str(error))
    except Exception:  # a fault of ours: the page shows a message, and the terminal shows where
        traceback.print_exc()
        return _message(500, "the server failed; its terminal shows where")
    if isinstance(answer, Jpeg):
        return Response(answer.content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})
    return None if answer is None else JSONResponse(dict(answer))


def _message(status: int, message: str) -> "HttpResponse":
    from starlette.responses import JSONResponse

    return JSONResponse({"message": message}, status)


def _nothing() -> "HttpResponse":
    return _message(404, "there is nothing here")


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens."""
    if not 0 <= port <= 65535:
        raise DistillError(f"port {port}: wanted 0 (any that is free) to 65535")
    listening = socket.socket(socket.AF_INET)
    try:
        if os.name == "posix":  # elsewhere this would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise DistillError(
                f"port {port}: another program serves there already, maybe a review that is still open; stop it, "
                "or give another --port (0 takes any that is free)"
            ) from error
        raise DistillError(f"port {port}: cannot be served ({error.strerror}); give another --port") from error
    return listening
