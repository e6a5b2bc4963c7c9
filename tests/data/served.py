"""Files served over HTTP from this machine, as the servers of releases do, or as they fail to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ser_zoo.corpora.base import Download


@dataclass
class Served:
    """What a server has and how it behaves.

    Attributes:
        files: path -> content.
        url: of the server.
        etag: of every file; none is told if it is empty.
        modified: when every file was, likewise.
        sized: whether it tells how long a file is.
        cut: bytes after which the connection breaks, answer by answer; then it lasts.
        resumes: whether it knows ranges.
        shift: bytes by which a range begins later than was asked for.
        asked: path and range of every request.
    """

    files: dict[str, bytes]
    url: str = ""
    etag: str = '"1"'
    modified: str = ""
    sized: bool = True
    cut: list[int] = field(default_factory=list)
    resumes: bool = True
    shift: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def download(self, path: str, folder: str = ".") -> Download:
        """The file at ``path`` with its checksum and size."""
        content = self.files[path]
        return Download(
            url=f"{self.url}/{path}", checksum=f"md5:{hashlib.md5(content).hexdigest()}", size=len(content), folder=folder
        )


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Served]:
    """A server of ``files`` on a free port, as long as the block runs."""
    served = Served(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append((self.path, wanted))
            content = served.files.get(self.path.lstrip("/"))
            if content is None:
                return self.send_error(404)
            start = 0
            if wanted and served.resumes and self.headers.get("If-Range") == (served.etag or served.modified):
                start = int(wanted.removeprefix("bytes=").rstrip("-")) + served.shift
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            length = str(len(content) - start) if served.sized else ""
            for name, value in (("Content-Length", length), ("ETag", served.etag), ("Last-Modified", served.modified)):
                if value:
                    self.send_header(name, value)
            self.end_headers()
            stop = start + served.cut.pop(0) if served.cut else None
            self.wfile.write(content[start:stop])
            return None

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
