"""The recipe of the images, and the check of health that they carry."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from common.bootstrap import USUAL_PORTS
from tests.repo.tree import ROOT

RECIPE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
STAGES = {name: (base, body) for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", RECIPE, flags=re.MULTILINE | re.DOTALL)}
SERVICES = [name.removesuffix("-service") for name in USUAL_PORTS]


def ancestors(stage: str) -> list[str]:
    """The stages that a stage stands on, itself first."""
    return [stage, *ancestors(STAGES[stage][0])] if stage in STAGES else []


def text_of(stage: str) -> str:
    """All that makes an image, from the base up."""
    return "".join(STAGES[name][1] for name in reversed(ancestors(stage)))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_own_code_and_packages_only(name: str) -> None:
    """A service's image holds the shared code and its own, installs what it needs and asks its own port for its health."""
    text, module = text_of(name), name.replace("-", "_")
    assert re.findall(r"COPY --chmod=755 services/(\w+) ", text) == [module]
    assert not re.search(r"COPY .*(scripts|monitoring|data/)", text)
    assert set(re.findall(r"source=requirements/([a-z-]+)\.txt", text)) == {"kalman-filter"} | ({name} - {"risk-manager"})
    assert f'"/app/healthcheck.py", "{USUAL_PORTS[f"{name}-service"]}", "/health/ready"' in text
    if name == "risk-manager":
        assert "docker/risk-manager-start.sh ./start" in text
        assert 'CMD ["/app/start"]' in text
    else:
        assert f'CMD ["python", "-m", "services.{module}"]' in text


@pytest.mark.parametrize("name", [*SERVICES, "exchange-simulator", "streamlit", "tools", "gateway"])
def test_images_do_not_run_as_root_and_say_what_they_are(name: str) -> None:
    """Each image ends as user 10001, has a health check (or says that it needs none) and its labels."""
    _, body = STAGES[name]
    assert body.count("USER 10001:10001") == 1
    assert "HEALTHCHECK" in body
    for label in ("title", "version", "revision", "created"):
        assert f"org.opencontainers.image.{label}=" in body
    assert f'image.title="crypto-bot-{name}"' in body


def test_risk_manager_and_filter_need_the_same_packages() -> None:
    """Both stand on the shared packages alone, which are those of the filter's file."""
    files = [ROOT / "requirements" / f"{name}.txt" for name in ("kalman-filter", "risk-manager")]
    filter_pins, risk_pins = (path.read_text(encoding="utf-8").split("\n", 2)[2] for path in files)
    assert filter_pins == risk_pins


def test_nothing_secret_is_sent_to_the_builder() -> None:
    """The build sees only what is listed: no env file, secret, database, log or history."""
    listed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!").split("/")[0] for line in listed if line.startswith("!")}
    assert listed[1] == "*"
    assert allowed == {"common", "data", "docker", "monitoring", "requirements", "scripts", "services"}


class Ready(BaseHTTPRequestHandler):
    """Ready at one path."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 503)
        self.end_headers()
        self.wfile.write(b'{"status": "fail"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a service."""
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def check(port: int, path: str) -> tuple[int, str]:
    ran = subprocess.run([sys.executable, "-ISE", ROOT / "docker" / "healthcheck.py", str(port), path], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_health_check_follows_the_answer(port: int) -> None:
    """200 is well; any other answer is not, and its text shows in `docker inspect`."""
    assert check(port, "/health/ready")[0] == 0
    status, said = check(port, "/other")
    assert (status, said) == (1, '/other: 503 {"status": "fail"}\n')


def test_health_check_without_a_server() -> None:
    """A closed port is not well and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    status, said = check(port, "/health/ready")
    assert status == 1
    assert said.startswith(f"port {port}: ")
