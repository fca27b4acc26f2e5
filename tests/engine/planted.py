"""Where secrets that were given by file must not show: everything that images, containers, scripts and pages tell."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.engine.operations import signal_process
from tests.engine.production import Production
from tests.engine.stack import eventually, run

_PORTS = ("INGESTION_PORT", "KALMAN_FILTER_PORT", "GARCH_VOLATILITY_PORT", "EXECUTION_PORT", "RISK_MANAGER_PORT")
#: Published pages of Prometheus: its own metrics, every series that it has, its settings and targets.
_PROMETHEUS = ("/metrics", "/federate?match[]=%7B__name__%3D~%22.%2B%22%7D", "/api/v1/status/config", "/api/v1/targets")
#: Ways to end badly: settings that are none, no place for the ledger, no broker.
_CRASHES = {
    "ingestion-service": ("SYMBOLS=x",),
    "execution-service": ("DATA_DIR=/proc/nowhere",),
    "risk-manager-service": ("KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1", "KAFKA_STARTUP_TIMEOUT_SECONDS=1"),
}


def no_planted_secret_shows(production: Production) -> None:
    """After crashes too, no planted secret is in images, logs, `docker inspect`, process lists, `compose config`, pages, reports or a backup."""
    found, sources = [], 0
    for source, text in _everything_told(production):
        # Stand-ins for Kafka UI and Grafana log nothing.
        assert text or source in {"log of /crypto-bot-kafka-ui", "log of /crypto-bot-grafana"}, f"{source} says nothing, so nothing was looked through"
        sources += 1
        found += [f"{source} shows {what}" for what, secret in production.planted.items() if secret in text]
    assert found == [], "\n".join(found)
    production.say(f"{len(production.planted)} secrets looked for in {sources} places")


def _everything_told(production: Production) -> Iterator[tuple[str, str]]:
    yield from _crash_reports(production)
    yield from _scripts(production)
    yield from _pages(production)
    yield "compose config", production.production("config").stdout
    for image in sorted(set(production.production("config", "--images").stdout.split())):
        yield f"history of {image}", run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        yield f"image {image}", run("docker", "image", "inspect", image)
    for container in production.containers():
        name = json.loads(said := run("docker", "inspect", container))[0]["Name"]
        yield f"inspection of {name}", said
        ran = production.call("docker", "logs", container)
        yield f"log of {name}", ran.stdout + ran.stderr
        if json.loads(said)[0]["State"]["Running"]:
            yield f"processes of {name}", run("docker", "top", container, "-eo", "pid,args")


def _crash_reports(production: Production) -> Iterator[tuple[str, str]]:
    """What services say that end badly; the one that holds most secrets is ended by a signal too, and comes back."""
    for service, settings in _CRASHES.items():
        options = [word for each in settings for word in ("--env", each)]
        ran = production.production("run", "--rm", "--no-deps", "-T", *options, service)
        assert ran.returncode != 0
        yield f"crash of {service}", ran.stdout + ran.stderr
    before = production.started_at("risk-manager-service")
    signal_process("risk-manager-service", "services.risk_manager", "SEGV")(production)
    assert eventually(lambda: bool(production.containers("risk-manager-service")) and production.started_at("risk-manager-service") != before, 30)
    assert production.call("scripts/health-check.sh", "--wait", "60", "--quiet").returncode == 0


def _scripts(production: Production) -> Iterator[tuple[str, str]]:
    for command in (("deploy.sh", "config"), ("deploy.sh", "status"), ("health-check.sh", "--json"), ("deploy.sh", "backup")):
        ran = production.call(f"scripts/{command[0]}", *command[1:])
        assert ran.returncode == 0
        yield " ".join(command), ran.stdout + ran.stderr
    yield "audit log", (production.folder / "var" / "deploy.log").read_text(encoding="utf-8")
    (archive,) = (production.folder / "backups").glob("*.tar.gz")
    yield "backup", _unpacked(archive)


def _unpacked(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        files = (tar.extractfile(member) for member in tar.getmembers())
        return b"\n".join(file.read() for file in files if file).decode(errors="replace")


def _pages(production: Production) -> Iterator[tuple[str, str]]:
    pages = [(port, path) for port in _PORTS for path in ("/metrics", "/info", "/health")]
    pages += [("PROMETHEUS_PORT", path) for path in _PROMETHEUS]
    pages += [("ALERTMANAGER_PORT", path) for path in ("/metrics", "/api/v2/status")]
    for port, path in pages:
        ran = production.call("curl", "-sS", "--globoff", f"http://127.0.0.1:{production.ports[port]}{path}")
        yield f"{port} {path}", ran.stdout
