"""The HTTP pages: health, metrics, information, errors and the token guard."""

import json
import urllib.request
from decimal import Decimal
from typing import Annotated

import msgspec
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from common.errors import ConfigurationError
from common.health import Check, Report
from common.io.http import HttpServer, Json, common_routes, create_application, listen, require_token
from common.settings import Secret, Settings, setting

IDENTITY = {"service": "execution-service", "version": "0.1.0", "instance": "host-1"}
TOKEN = "a-long-token"


class OwnSettings(Settings, frozen=True, kw_only=True):
    """Settings with a secret."""

    control_token: Annotated[Secret, setting("token", "x")] = Secret("hunter2")
    starting_equity_usd: Annotated[Decimal, setting("equity", "10000")] = Decimal("10000.50")


def report(live: bool = True, ready: bool = True) -> Report:
    checks = {"loop": Check(live, "0.1 s since the last turn", "the loop has not turned for 11 s"), "service": Check(ready, "active", "recovering")}
    return Report(live, ready, "" if ready else "recovering", "active", checks, {"pairs": ["ETHUSDT-BTCUSDT"], "api_key": "hunter2"})


def application(seen: Report) -> FastAPI:
    settings = OwnSettings(redis_url="redis://:hunter2@localhost:6379/0")
    shared = common_routes(IDENTITY, lambda: seen, lambda: b"up 1.0\n", lambda: {"settings": msgspec.structs.asdict(settings)})
    router = APIRouter()

    @router.get("/positions")
    def positions(limit: int = 10) -> Json:
        """Positions."""
        return Json({"net": Decimal("1.10"), "limit": limit})

    @router.post("/halt", dependencies=[require_token(Secret(TOKEN))])
    def halt() -> dict[str, str]:
        """Halt."""
        return {"state": "halted"}

    @router.post("/resume", dependencies=[require_token(Secret(""))])
    def resume() -> dict[str, str]:
        """Resume."""
        return {"state": "active"}

    @router.get("/broken")
    def broken() -> None:
        """Fail."""
        raise ZeroDivisionError

    return create_application(shared, router)


@pytest.fixture
def client() -> TestClient:
    return TestClient(application(report()), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("live", "ready", "statuses"),
    [(True, True, (200, 200, 200)), (True, False, (503, 200, 503)), (False, False, (503, 503, 503))],
    ids=["well", "unready", "dead"],
)
def test_health_pages(live: bool, ready: bool, statuses: tuple[int, ...]) -> None:
    """Liveness and readiness answer 200 or 503 and say why; /health goes with readiness."""
    client = TestClient(application(report(live, ready)))
    answers = [client.get(path) for path in ("/health", "/health/live", "/health/ready")]
    assert tuple(answer.status_code for answer in answers) == statuses
    for answer in answers:
        body = answer.json()
        assert answer.headers["content-type"] == "application/health+json"
        assert body["status"] == ("pass" if answer.status_code == 200 else "fail")
        assert (body["service"], body["version"], body["role"]) == ("execution-service", "0.1.0", "active")
        assert body["reason"] == ("" if ready else "recovering")
        assert body["checks"]["service"]["status"] == ("pass" if ready else "fail")


def test_metrics(client: TestClient) -> None:
    """Metrics come in the content type that Prometheus asks for."""
    answer = client.get("/metrics")
    assert answer.text == "up 1.0\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_info_without_secrets(client: TestClient) -> None:
    """Identity, role, settings and details are shown; tokens and passwords in URLs are not."""
    answer = client.get("/info")
    body = answer.json()
    assert "hunter2" not in answer.text
    assert body["service"] == "execution-service"
    assert body["settings"]["control_token"] == "***"
    assert body["settings"]["redis_url"] == "redis://:***@localhost:6379/0"
    assert body["settings"]["starting_equity_usd"] == "10000.50"
    assert body["settings"]["exchange"] == "simulator"
    assert body["details"]["pairs"] == ["ETHUSDT-BTCUSDT"]


def test_own_routes(client: TestClient) -> None:
    """A service's routes are there, and money stays exact."""
    assert client.get("/positions").text == '{"net":"1.10","limit":10}'


def test_unknown_path_lists_the_known_ones(client: TestClient) -> None:
    """A wrong path is answered with the right ones."""
    answer = client.get("/position")
    assert answer.status_code == 404
    assert answer.json()["error"] == "nothing is at /position"
    assert {"/health", "/info", "/metrics", "/positions"} <= set(answer.json()["paths"])
    assert client.get("/docs").status_code == 404


def test_errors_are_json(client: TestClient) -> None:
    """Wrong method, wrong parameter and a bug are answered in JSON that says what is wrong."""
    assert client.post("/positions").json() == {"error": "POST is not possible at /positions"}
    wrong = client.get("/positions?limit=many")
    assert wrong.status_code == 422
    assert wrong.json()["problems"][0].startswith("query.limit: ")
    failed = client.get("/broken")
    assert failed.status_code == 500
    assert "ZeroDivisionError" in failed.json()["error"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer ", 401),
        ("Bearer \xe9", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN} ", 200),
    ],
)
def test_token(client: TestClient, header: str, status: int) -> None:
    """Only the token gets in; a refusal says what to send and never what was expected."""
    answer = client.post("/halt", headers={b"Authorization": header.encode("latin-1")} if header else {})
    assert answer.status_code == status
    if status == 401:
        assert "Authorization: Bearer <token>" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_no_token_configured(client: TestClient) -> None:
    """Without a configured token nobody gets in, not even with an empty one, and the answer names the variable."""
    answer = client.post("/resume", headers={"Authorization": "Bearer "})
    assert answer.status_code == 403
    assert "CONTROL_TOKEN_FILE" in answer.json()["error"]


def test_server_answers_from_its_thread_and_stops() -> None:
    """The server answers over a real socket and frees its port when it stops."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = HttpServer(application(report()), listener)
    server.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        assert json.load(answer)["status"] == "pass"
    server.stop()
    listen("127.0.0.1", port).close()


def test_port_in_use() -> None:
    """A port that is taken is one line that names the port, the variable and the fix."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            listen("127.0.0.1", port)
    (problem,) = caught.value.problems
    assert problem.startswith(f"HTTP_PORT={port}: ")
    assert "address already in use" in problem
    assert "set HTTP_PORT to a free port" in problem


def test_address_of_another_machine() -> None:
    """An address that is not ours is named."""
    with pytest.raises(ConfigurationError) as caught:
        listen("192.0.2.1", 8000)
    assert "192.0.2.1:8000" in caught.value.problems[0]
    with pytest.raises(ConfigurationError, match="HTTP_HOST='no such host'"):
        listen("no such host", 8000)
