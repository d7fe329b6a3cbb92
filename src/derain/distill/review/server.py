"""A small web server for one person at this computer.

It answers only to this computer, only under its own name (a foreign Host header is a web site that had its name point
here), and takes what is sent only from its own pages: these know a token that is drawn when the server starts.
"""

import contextlib
import errno
import hmac
import json
import os
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl, urlsplit

from derain.errors import DerainError, DistillError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
TOKEN_HEADER = "X-Derain-Token"
TOKEN_MARK = "{{token}}"
"""Where a page holds the token."""

_LARGEST_BODY = 64 * 1024
_PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
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

    path: str
    """Such as `/api/vote`, without the query."""
    query: Mapping[str, str]
    body: Mapping[str, Any] | None
    """What was sent, for a POST; None for a GET."""


@dataclass(frozen=True)
class Response:
    """What it is answered."""

    content: bytes
    type: str
    status: HTTPStatus = HTTPStatus.OK
    lasting: bool = False
    """Whether the browser may keep it."""


class Application(Protocol):
    """What a server serves."""

    def answer(self, request: Request) -> Response | None:
        """The answer, or None where there is nothing under the path. Threads call this at the same time.

        Raises:
            Refused: what was sent is not what was wanted.
            DerainError: it cannot be had; the page shows the message.
        """
        ...


class Refused(Exception):  # noqa: N818 -- a status, not a fault of ours
    """What a page sent is not what was wanted; it is told why."""


def json_response(content: object) -> Response:
    return Response(json.dumps(content, allow_nan=False).encode(), "application/json; charset=utf-8")


def page_file(name: str) -> Response | None:
    """A page, style or script that comes with the package; None for other names."""
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 -- a name in a URL, no path
    if suffix not in _PAGE_TYPES or not name.replace(".", "").replace("_", "").isalnum():
        return None
    resource = files("derain.distill.review") / "pages" / name
    return Response(resource.read_bytes(), _PAGE_TYPES[suffix]) if resource.is_file() else None


class LocalServer(ThreadingHTTPServer):
    """Serves an application on this computer; bound when it is made.

    Args:
        application: what is served.
        host: a name or address of this computer itself.
        port: 0 for any that is free.

    Raises:
        DistillError: another host, or the port is taken or may not be used.
    """

    daemon_threads = True
    block_on_close = False
    # Elsewhere than on POSIX this would let two servers share a port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, application: Application, host: str = "127.0.0.1", port: int = 0) -> None:
        if host not in LOOPBACK_HOSTS:
            raise DistillError(
                f"host {host}: the page knows no passwords and is served to this computer only; use 127.0.0.1, and "
                f"reach it from elsewhere through `ssh -L {port}:127.0.0.1:{port}`"
            )
        if not 0 <= port <= 65535:
            raise DistillError(f"port {port}: wanted 0 (any that is free) to 65535")
        self.application = application
        self.token = secrets.token_urlsafe(24)
        self._at_work = threading.Condition()
        self._posts = 0
        self._connections: set[socket.socket] = set()
        self._thread: threading.Thread | None = None
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise DistillError(
                    f"port {port}: another program serves there already, maybe a review that is still open; stop it, "
                    "or give another --port (0 takes any that is free)"
                ) from error
            raise DistillError(f"port {port}: cannot be served ({error.strerror}); give another --port") from error
        self.port = int(self.server_address[1])
        self.names = {f"{name}:{self.port}" for name in LOOPBACK_HOSTS}
        if self.port == 80:
            self.names |= set(LOOPBACK_HOSTS)
        self.url = f"http://{host}:{self.port}/"

    def server_bind(self) -> None:
        # As HTTPServer does, but without asking the network for this computer's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def serve_until_interrupted(self) -> None:
        """Serve until Ctrl-C; what was being stored is stored before this returns."""
        try:
            self.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self.server_close()

    def server_close(self) -> None:
        super().server_close()
        with self._at_work:
            self._at_work.wait_for(lambda: self._posts == 0, timeout=10)
            for connection in self._connections:  # browsers hold theirs open, and would go on being answered
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        """Serve beside the caller, until the block ends."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        if self._thread is not None:
            self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that goes away in the middle of an answer is no fault.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def note_connection(self, connection: socket.socket, is_open: bool) -> None:
        """Remember which connections there are, to end them with the server."""
        with self._at_work:
            (self._connections.add if is_open else self._connections.discard)(connection)

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """The server does not end before the block does."""
        with self._at_work:
            self._posts += 1
        try:
            yield
        finally:
            with self._at_work:
                self._posts -= 1
                self._at_work.notify_all()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: LocalServer
    protocol_version = "HTTP/1.1"
    server_version = "derain"
    sys_version = ""
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self.server.note_connection(self.connection, True)

    def finish(self) -> None:
        self.server.note_connection(self.connection, False)
        super().finish()

    def do_GET(self) -> None:
        if self._is_at_home():
            self._send(self._answer(None))

    def do_POST(self) -> None:
        if not self._is_at_home():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"wanted at most {_LARGEST_BODY} bytes with their length")
            return
        sent = self.rfile.read(int(length))
        if not self._is_from_own_page():
            self._refuse(HTTPStatus.FORBIDDEN, "this page belongs to a server that has ended; reload it")
            return
        try:
            body = json.loads(sent)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._send(_message(HTTPStatus.BAD_REQUEST, "wanted a JSON object"))
            return
        with self.server.storing():
            self._send(self._answer(body))

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is the person's, who sees on the page what happens."""

    def _is_at_home(self) -> bool:
        if self.headers.get("Host", "").lower() in self.server.names:
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"wanted a request for {self.server.url}")
        return False

    def _is_from_own_page(self) -> bool:
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://").lower() not in self.server.names:
            return False
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        given = self.headers.get(TOKEN_HEADER, "").encode("latin-1", "replace")
        return hmac.compare_digest(given, self.server.token.encode())

    def _answer(self, body: Mapping[str, Any] | None) -> Response | None:
        try:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, max_num_fields=20))
        except ValueError as error:  # no page of ours asks so
            return _message(HTTPStatus.BAD_REQUEST, str(error))
        try:
            return self.server.application.answer(Request(parts.path, query, body))
        except Refused as refused:
            return _message(HTTPStatus.BAD_REQUEST, str(refused))
        except DerainError as error:
            return _message(HTTPStatus.CONFLICT, str(error))
        except Exception:  # a fault of ours: the page is told, and the terminal shows where
            self.server.handle_error(self.request, self.client_address)
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its terminal says where")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        # What was sent may not have been read: the connection cannot be used on.
        self.close_connection = True
        self._send(_message(status, message))
        # A connection that is closed on unread bytes takes the answer with it; so they are read, but not for long.
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(64):
                if not self.connection.recv(_LARGEST_BODY):
                    break

    def _send(self, response: Response | None) -> None:
        response = response or _message(HTTPStatus.NOT_FOUND, "there is nothing here")
        content = response.content
        if response.type == _PAGE_TYPES[".html"]:
            content = content.replace(TOKEN_MARK.encode(), self.server.token.encode())
        self.send_response(response.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, max-age=3600" if response.lasting else "no-store")
        self.send_header("Content-Type", response.type)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _message(status: HTTPStatus, message: str) -> Response:
    content = json.dumps({"message": message}).encode()
    return Response(content, "application/json; charset=utf-8", status)
