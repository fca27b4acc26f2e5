"""Receivers of notifications on this machine: webhooks over HTTP, mail over SMTP with STARTTLS and login."""

import base64
import email
import email.policy
import json
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0


class Received(NamedTuple):
    """One request: where to, the JSON that it carried, and when it came (monotonic seconds)."""

    path: str
    body: dict[str, Any]
    at_s: float = 0.0


def eventually(find: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """Wait for something to come; raises TimeoutError when it does not in time."""
    give_up_at = time.monotonic() + patience_s
    while (found := find()) is None:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"never came: {what}")
        time.sleep(0.05)
    return found


class WebhookSink:
    """Answers every POST as Slack, PagerDuty and heartbeat services do, and keeps it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        #: Paths that are answered with 404, as an address that has been withdrawn.
        self.withdrawn: set[str] = set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                gone, pager = self.path in sink.withdrawn, self.path == "/v2/enqueue"
                if not gone:
                    sink.received.append(Received(self.path, body, time.monotonic()))
                answer = b'{"status": "success", "message": "Event processed", "dedup_key": "k"}' if pager else b"ok"
                self.send_response(404 if gone else 202 if pager else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that it has
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def first(self, path: str, *words: str) -> Received:
        """Wait for a request to a path that carries some words."""
        return eventually(
            lambda: next((each for each in tuple(self.received) if each.path == path and all(word in json.dumps(each.body) for word in words)), None),
            f"{path} with {words}",
        )

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()


class Mail(NamedTuple):
    """One message, and how it was handed over."""

    user: str
    password: str
    recipients: tuple[str, ...]
    message: EmailMessage
    #: When it came, monotonic seconds.
    at_s: float = 0.0


class MailSink:
    """A mail server that takes nothing before STARTTLS and a login."""

    def __init__(self, folder: Path) -> None:
        certificate, key = folder / "mail.pem", folder / "mail.key"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ]
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own command
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.mails: list[Mail] = []
        mails = self.mails

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Conversation(self.request, context, mails).hold()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()


class _Conversation:
    """SMTP with one client."""

    def __init__(self, connection: Any, context: ssl.SSLContext, mails: list[Mail]) -> None:
        self._connection, self._context, self._mails = connection, context, mails
        self._lines = connection.makefile("rb")
        self._encrypted = False
        self._login: tuple[str, str] | None = None
        self._recipients: list[str] = []

    def hold(self) -> None:
        """Answer until the client quits."""
        self._say("220 sink ESMTP")
        while line := self._lines.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            getattr(self, f"_on_{verb.lower()}", self._refuse)(rest)
            if verb.upper() == "QUIT":
                return

    def _say(self, *lines: str) -> None:
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def _refuse(self, _rest: str) -> None:
        self._say("502 not known here")

    def _on_ehlo(self, _rest: str) -> None:
        self._say("250-sink", "250 AUTH PLAIN LOGIN" if self._encrypted else "250 STARTTLS")

    def _on_starttls(self, _rest: str) -> None:
        self._say("220 go on")
        self._connection = self._context.wrap_socket(self._connection, server_side=True)
        self._lines, self._encrypted = self._connection.makefile("rb"), True

    def _on_auth(self, rest: str) -> None:
        kind, _, given = rest.partition(" ")
        if kind == "PLAIN":
            _, user, password = base64.b64decode(given).decode().split("\0")
        else:
            user, password = self._ask("Username:"), self._ask("Password:")
        self._login = user, password
        self._say("235 welcome")

    def _ask(self, prompt: str) -> str:
        self._say(f"334 {base64.b64encode(prompt.encode()).decode()}")
        return base64.b64decode(self._lines.readline()).decode()

    def _on_mail(self, _rest: str) -> None:
        self._recipients = []
        self._say("250 ok" if self._login else "530 log in first")

    def _on_rcpt(self, rest: str) -> None:
        self._recipients.append(rest.partition("<")[2].partition(">")[0])
        self._say("250 ok")

    def _on_data(self, _rest: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self._lines.readline()) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        assert self._login
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        self._mails.append(Mail(*self._login, tuple(self._recipients), message, time.monotonic()))
        self._say("250 taken")

    def _on_quit(self, _rest: str) -> None:
        self._say("221 bye")
