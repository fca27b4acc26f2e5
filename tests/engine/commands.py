"""What people type, as guides write it, on a running stack: each works, by either name of Compose."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.engine.stack import PROJECT, Stack, compose_words, run
from tests.repo.tree import ROOT

ANSWERS_WITHIN_S = 60
REGISTRY = "registry.example.com/hft"


class Command(NamedTuple):
    """A command as it is written, and what it must say; one that goes on for ever is interrupted once it has."""

    written: str
    said: str
    lasts: bool = False


COMMANDS = (
    Command("docker-compose config", "crypto-bot-network"),
    Command("docker-compose ps", "execution-service"),
    Command("docker-compose logs -f --tail=100 execution-service", "execution-service-1", lasts=True),
    Command('docker-compose logs -f | grep "ERROR"', "ERROR for a test", lasts=True),
    Command('docker-compose logs -f execution-service | grep "SLOW"', "SLOW for a test", lasts=True),
    Command("docker-compose exec execution-service ping kafka", "bytes from", lasts=True),
    Command("docker-compose exec execution-service curl http://prometheus:9090/-/healthy", "Healthy"),
    Command("docker-compose exec execution-service /bin/bash", "$ ", lasts=True),
    Command("docker-compose exec execution-service python -m services.execution.diagnostics", "verdict:"),
    Command('docker-compose exec execution-service sqlite3 /app/data/trading.db ".backup /app/data/backup.db"', ""),
    Command("docker stats --no-stream", "crypto-bot-kafka"),
    Command("docker system df", "Local Volumes"),
    Command("docker network inspect crypto-bot_crypto-bot-network", '"Internal": true'),
    Command("docker cp crypto-bot-grafana:/var/lib/grafana ./grafana-backup", "Successfully copied"),
    Command("docker cp crypto-bot-prometheus:/prometheus ./prometheus-backup", "Successfully copied"),
    *(Command(f"curl http://localhost:{port}/health", '"status":"pass"') for port in range(8000, 8005)),
    Command("./scripts/docker-build.sh --registry R", "gateway"),
    Command("docker tag crypto-bot-execution:latest R/hft/execution:v1.0.0", ""),
)
_PORTS = ("INGESTION_PORT", "KALMAN_FILTER_PORT", "GARCH_VOLATILITY_PORT", "EXECUTION_PORT", "RISK_MANAGER_PORT")


def commands_work_as_written(stack: Stack) -> None:
    """Each says what it should; only the project, the ports, the registry and the place of copies are this stack's."""
    for line in ("ERROR for a test", "SLOW for a test"):
        stack.compose("exec", "-T", "execution-service", "bash", "-c", f"echo {line} >/proc/1/fd/1")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            for word in compose_words() if command.written.startswith("docker-compose") else [("",)]:
                _type(stack, command, _meant_here(stack, command.written, " ".join(word), folder))
        assert list(Path(folder, "prometheus-backup").iterdir())
    made = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{REGISTRY}/*").split()
    made += run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{REGISTRY}/hft/*").split()
    run("docker", "image", "rm", *made)
    assert len(made) == 2 * 9 + 1, made


def _meant_here(stack: Stack, written: str, word: str, folder: str) -> str:
    """The command for the test's own stack."""
    here = {"docker-compose": word, "crypto-bot_": f"{PROJECT}_", "--registry R": f"--registry {REGISTRY}", " R/": f" {REGISTRY}/", " ./g": f" {folder}/g"}
    here |= {" ./prom": f" {folder}/prom"} | {f":{8000 + number}/": f":{stack.ports[port]}/" for number, port in enumerate(_PORTS)}
    for theirs, ours in here.items():
        written = written.replace(theirs, ours)
    return written


def _type(stack: Stack, command: Command, line: str) -> None:
    """Type it at a terminal of its own, and see what comes."""
    mine, theirs = pty.openpty()
    environment = {**os.environ, **stack.environment, "TERM": "dumb"}
    process = subprocess.Popen(["bash", "-c", line], cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    give_up_at = time.monotonic() + ANSWERS_WITHIN_S
    try:
        while time.monotonic() < give_up_at and not (command.lasts and command.said.encode() in said):
            if select.select([mine], [], [], 0.2)[0]:
                try:
                    said += os.read(mine, 65536)
                except OSError:
                    # The last who had the terminal open is gone.
                    break
        assert command.said in said.decode(errors="replace"), f"{line}: {said[-2000:]!r}"
        if command.lasts:
            os.killpg(process.pid, signal.SIGINT)
        else:
            assert process.wait(ANSWERS_WITHIN_S) in ({0, 1} if "diagnostics" in line else {0}), f"{line}: {said[-2000:]!r}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(mine)
