"""Judges the whole stack: reads on standard input what scripts/health-check.sh gathered from the engine, and asks the servers.

Runs in a container on the stack's network: `python -m scripts.operations.health`. It is set up by the services' environment.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from common.errors import ConfigurationError, CryptoBotError, InvalidRecord
from common.io.logs import redact, redact_text
from common.settings import Settings, load
from common.topics import ALL_TOPICS
from common.version import VERSION
from scripts.operations import health_asking as asking
from scripts.operations import health_broker as broker
from scripts.operations import health_monitoring as monitoring
from scripts.operations import health_services as services
from scripts.operations.health_containers import PIPELINE, SIMULATOR, Container, Engine, container_rows, read
from scripts.operations.health_rows import Row, as_document, as_lines, explained, fault_lines, verdict_of

#: Where the container finds the files that Prometheus and Grafana were given.
_FILES = Path("/monitoring")
_SIMULATOR_PORT = 8010
#: What people open, and where.
_PAGES = {"streamlit": ("streamlit:8501", "/_stcore/health"), "kafka-ui": ("kafka-ui:8080", "/actuator/health")}
#: In the order of the table; a group's rows stand together.
_GROUPS = ("container", "replica", "endpoint", "trading", "kafka", "topic", "group", "lag", "redis", "prometheus", "target", "rule", "alertmanager", "grafana")

Part = Callable[[], list[Row]]
T = TypeVar("T")


def main(arguments: Sequence[str], environment: Mapping[str, str], lines: Sequence[str]) -> int:
    """Exit status: 0 healthy, 1 degraded, 2 down, 3 wrong usage or settings."""
    options = _parser().parse_args(arguments)
    try:
        settings, engine = load(Settings, environment), read(lines)
    except ConfigurationError as error:
        return _complain(error.problems)
    except InvalidRecord as error:
        return _complain([str(error)])
    rows = explained(examine(settings, engine, options.monitoring))
    if options.json:
        about = {"environment": options.environment, "checked_at": datetime.now(UTC).isoformat(timespec="seconds"), "version": VERSION}
        sys.stdout.write(json.dumps(redact(as_document(rows, **about)), indent=2) + "\n")
    else:
        said = fault_lines(rows) if options.quiet else as_lines(rows, options.environment, verbose=options.verbose)
        sys.stdout.write("".join(f"{redact_text(line)}\n" for line in said))
    return verdict_of(rows).exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.operations.health", description="The judging behind scripts/health-check.sh.")
    parser.add_argument("--environment", default="development", help="named in what is shown")
    parser.add_argument("--monitoring", type=Path, default=_FILES, help="folder of the files that Prometheus and Grafana were given")
    parser.add_argument("--verbose", action="store_true", help="every row")
    parser.add_argument("--quiet", action="store_true", help="only what is wrong")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def _complain(problems: Sequence[str]) -> int:
    sys.stderr.write("".join(f"health-check: {problem}\n" for problem in problems))
    return 3


def examine(settings: Settings, engine: Engine, files: Path) -> list[Row]:
    """Every subject; what does not depend on each other is asked at once."""
    parts: tuple[Part, ...] = (
        lambda: _replicas(settings, engine),
        lambda: _pages(engine),
        lambda: _kafka(settings, engine),
        lambda: _prometheus(engine, files),
        lambda: _alertmanager(engine),
        lambda: _grafana(engine, files),
    )
    with ThreadPoolExecutor(len(parts)) as pool:
        found = [row for rows in pool.map(lambda part: part(), parts) for row in rows]
    return sorted([*container_rows(engine), *found], key=lambda row: _GROUPS.index(row.group))


def _runs(engine: Engine, service: str) -> bool:
    return any(each.runs for each in engine.of(service))


# --- services ---------------------------------------------------------------------------------------------------------


def _replicas(settings: Settings, engine: Engine) -> list[Row]:
    """All replicas, what rests on them, and the registry, which is compared with what they say."""
    asked = [each for each in engine.containers if each.service in {*PIPELINE, SIMULATOR}]
    with ThreadPoolExecutor(8) as pool:
        healths = list(pool.map(lambda each: _ask_replica(each, "/health"), asked))
        expositions = list(pool.map(lambda each: _ask_replica(each, "/metrics"), asked))
    known = dict(zip(asked, healths, strict=True))
    rows = [services.replica_row(each, health, [h for o, h in known.items() if o.service == each.service and o is not each]) for each, health in known.items()]
    rows += [services.lag_row(each, text) for each, text in zip(asked, expositions, strict=True) if each.service in PIPELINE]
    pipeline = [(each, health) for each, health in known.items() if each.service in PIPELINE]
    return [*rows, *_trading(engine, pipeline), *_redis(settings, engine, pipeline)]


def _ask_replica(container: Container, path: str) -> services.Answer:
    if not container.runs:
        return services.Answer(0, None, "its container does not run")
    port = PIPELINE.get(container.service, _SIMULATOR_PORT)
    return asking.ask(f"{container.address}:{port}", "/health/ready" if container.service == SIMULATOR and path == "/health" else path)


def _trading(engine: Engine, replicas: Sequence[tuple[Container, services.Answer]]) -> list[Row]:
    rows = [services.writer_row({each.name: health for each, health in replicas if each.service == "execution-service"})]
    for service, path, judge in (
        ("execution-service", "/positions", lambda answer, needs: [services.position_row(answer, needs)]),
        ("risk-manager-service", "/state", services.halt_rows),
    ):
        mine = engine.of(service)
        needs = tuple(services.replica_key(each.name) for each in mine) or (f"container {service}",)
        answers = [_ask_replica(each, path) for each in mine] or [services.Answer(0, None, f"{service} is not there")]
        rows += judge(next((answer for answer in answers if not answer.problem), answers[0]), needs)
    return rows


def _redis(settings: Settings, engine: Engine, replicas: Sequence[tuple[Container, services.Answer]]) -> list[Row]:
    about, registered, problem = asking.ask_redis(settings) if _runs(engine, "redis") else ({}, [], "its container does not run")
    return [services.redis_row(about, problem), *services.registry_rows(replicas, registered)]


def _pages(engine: Engine) -> list[Row]:
    """The services as people reach them, behind the gateway, and the pages."""
    rows = []
    for service, port in PIPELINE.items():
        needs = ("container gateway", *engine.keys(service), *(services.replica_key(each.name) for each in engine.of(service)))
        address = f"gateway:{port}"
        rows.append(services.endpoint_row(service, address, _ask_page(engine, "gateway", address, "/health"), needs))
    for page, (address, path) in _PAGES.items():
        needs = (f"container {page}", *((services.BROKER,) if page == "kafka-ui" else ()))
        rows.append(services.endpoint_row(page, address, _ask_page(engine, page, address, path), needs))
    return rows


def _ask_page(engine: Engine, service: str, address: str, path: str) -> services.Answer:
    return asking.ask(address, path) if _runs(engine, service) else services.Answer(0, None, f"{service} does not run")


# --- Kafka ------------------------------------------------------------------------------------------------------------


def _kafka(settings: Settings, engine: Engine) -> list[Row]:
    needs = engine.keys("kafka") if "kafka" in engine.services else ()
    away = "its container does not run" if needs and not _runs(engine, "kafka") else ""
    cluster, problem = (None, away) if away else asking.ask_broker(settings)
    names = [topic.name for topic in ALL_TOPICS]
    if cluster is None:
        rows = [broker.broker_row(0, problem, needs), *broker.topic_rows(names, [], problem)]
        return rows + [broker.group_row(service, None, problem, ()) for service in broker.GROUPS]
    found, topic_problem = _attempt(cluster.differences)
    rows = [broker.broker_row(cluster.brokers, "", needs), *broker.topic_rows(names, found or [], topic_problem)]
    for service in broker.GROUPS:
        group, problem = _attempt(lambda name=service: cluster.group(name))  # type: ignore[misc]
        replicas = [services.replica_key(each.name) for each in engine.of(service)] or [f"container {service}"]
        rows.append(broker.group_row(service, group, problem, replicas))
    return rows


def _attempt(action: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return action(), ""
    except CryptoBotError as error:
        return None, str(error).replace("\n", "; ")


# --- monitoring -------------------------------------------------------------------------------------------------------


def _prometheus(engine: Engine, files: Path) -> list[Row]:
    def answer(path: str) -> services.Answer:
        return _ask_page(engine, "prometheus", "prometheus:9090", path)

    rows = [monitoring.server_row("prometheus", answer("/-/ready"), ("container prometheus",))]
    rows += monitoring.target_rows(answer("/api/v1/targets?state=active"), engine.containers)
    return rows + monitoring.rule_rows(answer("/api/v1/rules"), monitoring.expected_rules(files))


def _alertmanager(engine: Engine) -> list[Row]:
    def answer(path: str) -> services.Answer:
        return _ask_page(engine, "alertmanager", "alertmanager:9093", path)

    rows = [monitoring.server_row("alertmanager", answer("/-/ready"), ("container alertmanager",))]
    return [*rows, monitoring.alert_row(answer("/api/v2/alerts"))]


def _grafana(engine: Engine, files: Path) -> list[Row]:
    def answer(path: str) -> services.Answer:
        return asking.ask_grafana(path) if _runs(engine, "grafana") else services.Answer(0, None, "grafana does not run")

    rows = [monitoring.server_row("grafana", answer("/api/health"), ("container grafana",))]
    sources = {uid: f"/api/datasources/uid/{uid}/health" for uid in monitoring.expected_data_sources(files)}
    boards = {uid: f"/api/dashboards/uid/{uid}" for uid in monitoring.expected_dashboards(files)}
    rows += [monitoring.grafana_row("data source", uid, answer(path)) for uid, path in sources.items()]
    return rows + [monitoring.grafana_row("dashboard", uid, answer(path)) for uid, path in boards.items()]


if __name__ == "__main__":
    status = main(sys.argv[1:], os.environ, sys.stdin.readlines())
    sys.stdout.flush()
    # A question that hangs must not keep us.
    os._exit(status)
