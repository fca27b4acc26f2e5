"""One whole stack on a real engine, under a project, ports and volumes of its own."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from scripts.env_examples import BROKER_VARIABLES, COMPOSE_VARIABLES, PRODUCTION_VARIABLES
from tests.levels import ALL
from tests.repo.tree import ROOT

PROJECT = "crypto-bot-test"
#: Also what takes longer than a change may wait for, or needs more of a machine: by hand, ENGINE_TESTS=all.
IN_FULL = os.environ.get("ENGINE_TESTS") == "all"
REHEARSAL = ROOT.parent / "shared" / "rehearsal"
#: Who gives orders to the test stack says this.
CONTROL_TOKEN = "operations-on-a-test-stack"
AnyStack = TypeVar("AnyStack", bound="Stack")
PORTS = [name for name in (*COMPOSE_VARIABLES, *BROKER_VARIABLES, *PRODUCTION_VARIABLES) if name.endswith("_PORT")]


def run(*command: str | Path, environment: Mapping[str, str] | None = None, timeout_s: float = 600.0) -> str:
    """Run a command in the project; what it prints, and an assertion with its last words when it fails."""
    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert ran.returncode == 0, f"{' '.join(map(str, command))}: {(ran.stdout + ran.stderr)[-3000:]}"
    return ran.stdout


def answers(*command: str) -> bool:
    """Whether a command ends well."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def compose_words() -> list[tuple[str, ...]]:
    """The names that Compose has here: the plugin's and, where it is there, the older one."""
    return [("docker", "compose"), *([("docker-compose",)] if shutil.which("docker-compose") else [])]


def require_engine() -> None:
    """Have an engine or skip; never touch a stack that is somebody's."""
    if not ALL:
        pytest.skip("needs a Docker engine: set TEST_LEVEL=all")
    if not answers("docker", "info") and not ((REHEARSAL / "engine.sh").exists() and answers(str(REHEARSAL / "engine.sh"), "up")):
        pytest.skip("needs a Docker engine: none answers, and none can be started here")
    if not answers("docker", "compose", "version"):
        pytest.skip("needs Docker Compose (the plugin `docker compose`): there is none here")
    theirs = run("docker", "ps", "--all", "--filter", "name=^crypto-bot-", "--format", "{{.Names}}").split()
    if theirs:
        pytest.fail(f"a crypto-bot stack that these tests did not start is there ({', '.join(theirs)}): stop it with `docker compose down` first")


def have_images(stack: "Stack", *others: str) -> None:
    """Have every image that the stack names, and others: ours are built, the others stood in for where that can be done, else pulled by the engine."""
    if (REHEARSAL / "images.sh").exists():
        foreign = [name for name in stack.compose("config", "--images").split() if not name.startswith("crypto-bot-")]
        run(REHEARSAL / "images.sh", "python:3.13-slim-trixie", "ghcr.io/astral-sh/uv:0.13.9", "caddy:2.11-alpine", *foreign, *others, timeout_s=900)
    run("scripts/docker-build.sh", timeout_s=1800)


def carry_out(checks: Sequence[Callable[[AnyStack], None]], stack: AnyStack, subtests: pytest.Subtests) -> None:
    """Do one check after the other on a stack; each counts for itself, and says how long it took."""
    for check in checks:
        started = time.monotonic()
        with subtests.test(check.__name__):
            check(stack)
        stack.say(f"{check.__name__}: {time.monotonic() - started:.0f} s")


def eventually(found: Callable[[], bool], within_s: float) -> bool:
    """Ask again and again until it is so; False when it is not in time."""
    give_up_at = time.monotonic() + within_s
    while not found():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.5)
    return True


class Stack:
    """The base file alone, its simulator sped up."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record = record_property
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environment = {
            **{name: str(port) for name, port in self.ports.items()},
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SIMULATOR_SPEED": "600",
            "CONTROL_TOKEN": CONTROL_TOKEN,
        }

    def say(self, text: str) -> None:
        """Tell people what was seen: figures are part of the proof."""
        self._record("says", text)

    def compose(self, *arguments: str) -> str:
        """Run `docker compose` on this stack, with the files of development."""
        return run("docker", "compose", "--file", "docker-compose.yml", *arguments, environment=self.environment)

    def get(self, port: str, path: str) -> Any:
        """Ask one of the published ports; None while nobody answers, or not as hoped."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=5) as response:
                return json.loads(response.read() or b"null")
        except (urllib.error.URLError, OSError, ValueError):
            return None

    def command(self, kind: str, token: str, why: str) -> int:
        """Give risk-manager an order for the whole portfolio; the status of its answer."""
        body = json.dumps({"pair": "portfolio", "who": "test", "why": why}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['RISK_MANAGER_PORT']}/{kind}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def containers(self, service: str = "", project: str = PROJECT) -> list[str]:
        """All containers, or the running ones of a service, by their ids."""
        which = ("--filter", f"label=com.docker.compose.service={service}") if service else ("--all",)
        return run("docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.project={project}", *which).split()

    def metric(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus knows."""
        answer = self.get("PROMETHEUS_PORT", f"/api/v1/query?query={urllib.request.quote(query)}")  # type: ignore[attr-defined]
        return list(answer["data"]["result"]) if answer else []

    def memory_bytes(self) -> float:
        """Memory that all containers use together."""
        names = self.compose("ps", "--quiet").split()
        used = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *names).splitlines()
        return sum(_bytes(line.split(" / ")[0]) for line in used)


def _bytes(text: str) -> float:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(f"{text!r} is no amount of memory")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
