"""The embedded broker and registry, and the check that the ports are free."""

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Iterator, Sequence

from fakeredis import TcpFakeServer

from common.errors import ConfigurationError

HOST = "127.0.0.1"


def require_free(ports: Sequence[int]) -> None:
    """Raises ConfigurationError naming every port that is taken."""
    if taken := [port for port in ports if not _is_free(port)]:
        listed = ", ".join(map(str, taken))
        raise ConfigurationError([f"port {listed} is in use: stop what listens there, or choose others with --base-port"])


def require_streamlit() -> None:
    """Raises ConfigurationError where the pages cannot be served."""
    if importlib.util.find_spec("streamlit") is None:
        raise ConfigurationError(["--ui: Streamlit is not installed here; start with scripts/demo.sh, which installs it, or run scripts/setup.sh dashboard"])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def embedded_redis() -> Iterator[str]:
    """A Redis-compatible server on a free port of loopback; yields its URL."""
    server = TcpFakeServer((HOST, 0), server_type="redis")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="redis", daemon=True)
    thread.start()
    try:
        yield f"redis://{HOST}:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()
