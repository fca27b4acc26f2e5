"""Asks a container's own HTTP server whether it is well: healthcheck.py PORT PATH; exit status 0 when it answers 200.

Over a bare socket, since it runs every few seconds: importing an HTTP client would cost several times as much.
"""

import socket
import sys


def main(port: str, path: str) -> int:
    """Ask once; returns the exit status and says what was answered."""
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 2.0) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError as error:
        sys.stdout.write(f"port {port}: {error}\n")
        return 1
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.partition("\r\n")[0].split(" ")[1:2]
    sys.stdout.write(f"{path}: {' '.join(status) or 'no HTTP'} {body[:500]}\n")
    return 0 if status == ["200"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
