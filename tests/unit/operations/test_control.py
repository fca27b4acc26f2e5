"""The programs that deploy.sh runs inside the order path's containers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from scripts.operations import control, positions

HALT = {"target": "portfolio", "verdict": "HALTED", "rule": "operator", "who": "me", "why": "test"}


class Manager(BaseHTTPRequestHandler):
    """A stand-in for risk-manager's routes."""

    asked: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        self._answer(
            200,
            {"pairs": {"ETHUSDT-BTCUSDT": {"verdict": "HALTED"}}, "halts": [HALT]},
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers.get("Authorization", ""), body))
        if self.headers.get("Authorization") == "Bearer right":
            self._answer(200, {"id": 7, "kind": self.path[1:], "pair": body["pair"], "obeyed": "from the signals of the next bar close on"})
        else:
            self._answer(401, {"error": "send the right token"})

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Where the stand-in listens."""
    Manager.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Manager)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_command_is_sent_with_the_token(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, why and which pair go along; the answer says its number."""
    (tmp_path / "control_token").write_text("right\n", encoding="utf-8")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert control.main(["halt", "--who", "me", "--why", "a test"], port) == 0
    assert Manager.asked == [("/halt", "Bearer right", {"pair": "portfolio", "who": "me", "why": "a test"})]
    assert capsys.readouterr().out == "halt of portfolio: command 7, obeyed from the signals of the next bar close on\n"


def test_a_refusal_is_told(port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In the service's own words, without a traceback."""
    monkeypatch.setenv("CONTROL_TOKEN", "wrong")
    assert control.main(["resume", "--who", "me", "--why", "a test"], port) == 1
    assert capsys.readouterr().out == "send the right token\n"


def test_the_state_is_told(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts and halts."""
    assert control.main(["state"], port) == 0
    assert capsys.readouterr().out == "  ETHUSDT-BTCUSDT: HALTED\n  halted: portfolio, HALTED by operator (me: test)\n"


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A service that does not listen is a sentence."""
    assert control.main(["state"], 1) == 1
    assert "refused" in capsys.readouterr().out


def test_where_the_token_comes_from(tmp_path: Path) -> None:
    """A named file goes before the environment, and that before the container's own, as in the service."""
    named, own = tmp_path / "named", tmp_path / "control_token"
    named.write_text("named", encoding="utf-8")
    own.write_text("own", encoding="utf-8")
    assert control.token({"CONTROL_TOKEN_FILE": str(named), "CONTROL_TOKEN": "given", "DATA_DIR": str(tmp_path)}) == "named"
    assert control.token({"CONTROL_TOKEN": "given", "DATA_DIR": str(tmp_path)}) == "given"
    assert control.token({"DATA_DIR": str(tmp_path)}) == "own"


def test_open_positions_are_told() -> None:
    """One line for each pair that holds something; nothing, or that there is none, for flat ones."""
    legs = {"y": {"symbol": "ETHUSDT", "quantity": "1.5"}, "x": {"symbol": "BTCUSDT", "quantity": "-0.07"}}
    flat = {name: {**leg, "quantity": "0.000"} for name, leg in legs.items()}
    held, empty = {"pair": "ETHUSDT-BTCUSDT", "legs": legs}, {"pair": "SOLUSDT-BTCUSDT", "legs": flat}
    assert list(positions.lines({"positions": [held, empty]}, tell_flat=False)) == ["  ETHUSDT-BTCUSDT: 1.5 ETHUSDT, -0.07 BTCUSDT"]
    assert list(positions.lines({"positions": [empty]}, tell_flat=False)) == []
    assert list(positions.lines({"positions": [empty]}, tell_flat=True)) == ["  none is open"]
