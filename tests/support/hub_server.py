"""A small hub on the loopback address: the routes that huggingface_hub asks for models and their files by.

Repositories are folders. It remembers the files that were sent, so that a test can say that no other ones were.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"main").hexdigest()
REVISIONS = ("main", "v1", COMMIT)
GATED = "some/gated"  # a repository that asks for a token


@dataclass
class Hub:
    """`url` for HF_ENDPOINT. `sent`: the files whose content was sent."""

    url: str
    sent: list[str] = field(default_factory=list)


@contextmanager
def serving(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """A hub with these repositories, by their names, as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            name = "/".join(parts[2:4] if api else parts[:2])
            revision = next(iter(parts[5:6] if api else parts[3:4]), "main")
            if name == GATED and not (api or self.headers.get("Authorization")):
                return self.send(403, b"gated", {"X-Error-Code": "GatedRepo"}, body)
            if name not in repositories:
                return self.send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
            if revision not in REVISIONS:
                return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
            folder = repositories[name]
            if api:
                return self.send(200, json.dumps(listing(name, folder)).encode(), {}, body)
            file = "/".join(parts[4:])
            if not (folder / file).is_file():
                return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
            content = (folder / file).read_bytes()
            if body:
                hub.sent.append(file)
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.send(200, content, {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}, body)

        def send(self, status: int, content: bytes, headers: Mapping[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(name: str, folder: Path) -> dict[str, object]:
    """A model's card as the hub's api gives it, with the sizes of its files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    siblings = [{"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size} for path in files]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0}
