"""Processes killed from the host, as a crash or the system's memory killer does: each comes back to health by itself."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine.operations import script
from tests.engine.stack import IN_FULL, Stack, eventually, run

#: Hit in every run; the others by hand (ENGINE_TESTS=all).
VICTIMS = ("kalman-filter-service", "execution-service", "kafka", "redis")
OTHERS = (
    "ingestion-service",
    "garch-volatility-service",
    "risk-manager-service",
    "exchange-simulator",
    "gateway",
    "streamlit",
    "kafka-ui",
    "prometheus",
    "alertmanager",
    "grafana",
)
#: A broker's old registration has to expire, and a member that is gone has to be missed.
BACK_WITHIN_S = 120


def each_killed_process_comes_back(stack: Stack) -> None:
    """One after the other is killed by its process id: the engine starts it again and all is healthy, with nobody's help."""
    for service in (*VICTIMS, *(OTHERS if IN_FULL else ())):
        comes_back_when_killed(stack, service)


def comes_back_when_killed(stack: Stack, service: str) -> None:
    """Kill the first container of a service by its process id, and see it and all else healthy again."""
    container = stack.containers(service)[0]
    before = _inspect(container)
    process = before["State"]["Pid"]
    if not Path(f"/proc/{process}").exists():
        pytest.skip("the engine's processes are not this machine's, so none can be killed from here")
    started = time.monotonic()
    os.kill(process, signal.SIGKILL)
    assert eventually(lambda: _is_back(container, before["RestartCount"]), BACK_WITHIN_S), _inspect(container)["State"]
    script(stack, "health-check.sh", "--quiet", "--wait", str(BACK_WITHIN_S))
    stack.say(f"{service} killed: healthy again after {time.monotonic() - started:.0f} s")


def _is_back(container: str, restarts: int) -> bool:
    found = _inspect(container)
    return bool(found["RestartCount"] > restarts and found["State"].get("Health", {}).get("Status") == "healthy")


def _inspect(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("docker", "inspect", container))[0]
    return found
