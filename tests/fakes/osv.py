"""A database of known vulnerabilities on loopback, which answers as api.osv.dev does.

See https://google.github.io/osv.dev/post-v1-query/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def osv_server(vulnerabilities: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve *vulnerabilities*, ids by package of PyPI and its version; yields the address and what was asked for."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, version = query["package"]["name"], query["version"]
            asked.append((name, version))
            found = vulnerabilities.get((name, version))
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "versions": [version]}]
            answer = {"vulns": [{"id": found, "summary": "x", "affected": affected}]} if found else {}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", asked
        finally:
            server.shutdown()
            thread.join()
