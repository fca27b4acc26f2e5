"""A Redis-compatible server in a process of its own, so that it can be killed: `python -m scripts.faults.registry_server PORT`."""

import sys
from collections.abc import Sequence

from fakeredis import TcpFakeServer

from scripts.embedded.servers import HOST


def main(arguments: Sequence[str]) -> int:
    """Serve until killed; exit status 2 for wrong usage."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m scripts.faults.registry_server PORT\n")
        return 2
    server = TcpFakeServer((HOST, int(arguments[0])), server_type="redis")
    server.daemon_threads = True
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
