"""A `/metrics` of the drill's own: for a history that goes on, or a service's own page but for one line.

The latter puts a value into a metric where it leaves its service, for the few alerts whose cause nobody can make. From the scrape
on all is real.
"""

import threading
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripts.embedded.servers import HOST

_ASK_S = 2.0


class Exposition:
    """Serves what a function gives, on a free port."""

    def __init__(self, text: Callable[[], str]) -> None:
        """`text` may raise OSError: then it does not answer either."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    body = text().encode()
                except OSError:
                    self.send_error(502)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it has
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()


def changed(source_port: int, samples: Mapping[str, float]) -> str:
    """What another port of this machine shows, with some samples replaced or added; they go by series as the format spells them."""
    with urllib.request.urlopen(f"http://{HOST}:{source_port}/metrics", timeout=_ASK_S) as answer:
        return replaced(answer.read().decode(), samples)


def replaced(text: str, samples: Mapping[str, float]) -> str:
    """A page with some samples replaced; those that are not there join the others of their metric."""
    lines = text.splitlines()
    for series, value in samples.items():
        place = next((number for number, line in enumerate(lines) if line.rpartition(" ")[0] == series), None)
        if place is None:
            name = series.partition("{")[0]
            place = next((number + 1 for number, line in enumerate(lines) if line.startswith(f"# TYPE {name} ")), len(lines))
            lines.insert(place, "")
        lines[place] = f"{series} {value}"
    return "\n".join(lines) + "\n"
