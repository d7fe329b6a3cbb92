"""A model hub in small, on this machine: repositories made, filled by commits and read, over real HTTP.

It speaks what huggingface_hub asks for when a repository is made, files are committed (all of them inline, none through
a large-file store) and a file is fetched. The client's own code does everything else.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Serves on a free port of this machine's own address; `repositories` maps owner/name to files by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.is_private: dict[str, bool] = {}
        self.commits: list[str] = []
        self.requests: list[str] = []
        self.may_write = "hf_writer"
        """The token that commits need."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet; what was asked for is in `requests`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"POST {self.path}")
        if self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.server.may_write}":
            self._refuse(401, "Unauthorized", "Invalid credentials in Authorization header")
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            repo_id = f"{wanted['organization']}/{wanted['name']}"
            status = 409 if repo_id in self.server.repositories else 200
            self.server.repositories.setdefault(repo_id, {".gitattributes": b""})
            self.server.is_private.setdefault(repo_id, wanted.get("visibility") == "private")
            self._answer({"url": f"{self.server.address}/{repo_id}", "name": repo_id}, status)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(\w+)", self.path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            self._answer({"files": files})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(\w+)", self.path):
            self._commit(found.group(1), body)
        else:
            self._refuse(404, "NotFound", f"no such endpoint: {self.path}")

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            repo_id, revision, path = found.groups()
            if self._is_there(repo_id, revision):
                self._send_file(self.server.repositories[repo_id], path)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/?]+)(/revision/[^/?]+)?(\?.*)?", self.path):
            repo_id, revision = found.group(1), (found.group(2) or "/main").rpartition("/")[2]
            if self._is_there(repo_id, revision):
                names = [{"rfilename": name} for name in self.server.repositories[repo_id]]
                self._answer({"id": repo_id, "sha": _COMMIT, "siblings": names, "private": False})
        else:
            self._refuse(404, "NotFound", f"no such endpoint: {self.path}")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def _is_there(self, repo_id: str, revision: str) -> bool:
        if repo_id not in self.server.repositories:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif revision not in ("main", _COMMIT):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        else:
            return True
        return False

    def _commit(self, repo_id: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.server.commits.append(value["summary"])
            else:
                assert (entry["key"], value["encoding"]) == ("file", "base64"), "other entries are not understood"
                self.server.repositories[repo_id][value["path"]] = base64.b64decode(value["content"])
        url = f"{self.server.address}/{repo_id}/commit/{_COMMIT}"
        self._answer({"success": True, "commitOid": _COMMIT, "commitUrl": url})

    def _send_file(self, files: dict[str, bytes], path: str) -> None:
        if path not in files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = files[path]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self._send(content)

    def _answer(self, values: object, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self._send(json.dumps(values).encode())

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self._send(b"")

    def _send(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


_COMMIT = "0123456789abcdef0123456789abcdef01234567"
