"""A real HTTP server on this machine that speaks the chat completions protocol, and misbehaves as a test asks."""

import base64
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    number: int
    """How many came before it."""

    @property
    def texts(self) -> list[str]:
        """Everything in words, the system's first."""
        found: list[str] = []
        for message in self.body["messages"]:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            found += [part["text"] for part in parts if part["type"] == "text"]
        return found

    @property
    def pictures(self) -> list[npt.NDArray[np.uint8]]:
        """The pictures, decoded."""
        content = self.body["messages"][-1]["content"]
        urls = [] if isinstance(content, str) else [part["image_url"]["url"] for part in content if "image_url" in part]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))) for url in urls]


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut_at: int | None = None
    """The connection is closed after so many bytes of the body."""
    drip_s: float = 0.0
    """Pause after each byte."""


Behaviour = Callable[[Asked], Reply]
"""What to answer a request."""


def completion(text: str | None, weights: Mapping[str, float] | None = None, **extra: object) -> Reply:
    """A proper answer; `weights` are probabilities of tokens at its first place, the likeliest being the reply's."""
    choice: dict[str, object] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if weights is not None:
        listed = [{"token": token, "logprob": math.log(weight)} for token, weight in weights.items()]
        first = max(listed, key=lambda entry: entry["logprob"])
        choice["logprobs"] = {"content": [{**first, "top_logprobs": listed}]}
    usage = {"prompt_tokens": 100, "completion_tokens": 2}
    return Reply(body=json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage, **extra}).encode())


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error as servers write it; header names take _ for -."""
    error = {"message": message, "type": "error", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": error}).encode(), named)


class ChatServer:
    """What the server has seen so far."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.url = ""
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def enter(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
        with self._lock:
            asked = Asked(path, headers, body, len(self.asked))
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return asked

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1


@contextmanager
def serving(behave: Behaviour) -> Iterator[ChatServer]:
    """A server that behaves so, until the block ends."""
    state = ChatServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = state.enter(self.path, headers, json.loads(raw))
            try:
                self._send(state.behave(asked))
            except OSError:
                self.close_connection = True  # the client has gone
            finally:
                state.leave()

        def _send(self, reply: Reply) -> None:
            time.sleep(reply.delay_s)
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.drip_s:
                for byte in reply.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
            else:
                self.wfile.write(reply.body[: reply.cut_at])
            self.close_connection = self.close_connection or reply.cut_at is not None

        def log_message(self, format: str, *args: object) -> None:  # tests are quiet
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
