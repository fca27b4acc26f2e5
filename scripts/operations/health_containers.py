"""What the engine says of the containers: read from the lines of scripts/health-check.sh, and judged.

Each line is a word and its value: `service NAME` for what should run, `container JSON` for what is there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from common.errors import InvalidRecord
from scripts.operations.health_rows import Row, State

#: The services whose loss stops trading, and the ports that they answer on.
PIPELINE: Mapping[str, int] = {
    "ingestion-service": 8000,
    "kalman-filter-service": 8001,
    "garch-volatility-service": 8002,
    "execution-service": 8003,
    "risk-manager-service": 8004,
}
SIMULATOR = "exchange-simulator"
_VITAL = frozenset({*PIPELINE, "kafka", SIMULATOR})
#: Of three brokers any one may be lost.
_BROKERS = ("kafka", "kafka-2", "kafka-3")
#: Does its work and ends.
_ONE_SHOT = "topics"
#: Containers without which a service's own cannot be well.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(PIPELINE, ("kafka",)),
    "ingestion-service": ("kafka", SIMULATOR),
    "execution-service": ("kafka", SIMULATOR),
    "topics": ("kafka",),
    "kafka-ui": ("kafka",),
}


class Container(NamedTuple):
    """A container of the project."""

    service: str
    #: As people name it: the service, with its number where there may be several.
    name: str
    #: Address in the project's network; empty while it does not run.
    address: str
    status: str
    health: str
    exit_code: int
    restarts: int
    error: str
    last_check: str
    out_of_memory: bool

    @property
    def runs(self) -> bool:
        """Whether it can be asked anything."""
        return self.status == "running" and bool(self.address)

    @property
    def key(self) -> str:
        """Names its row."""
        return f"container {self.name}"


class Engine(NamedTuple):
    """What should run, and what is there."""

    services: tuple[str, ...]
    containers: tuple[Container, ...]

    def of(self, service: str) -> list[Container]:
        """The containers of a service."""
        return [each for each in self.containers if each.service == service]

    def keys(self, *services: str) -> tuple[str, ...]:
        """The rows of the containers of these services."""
        return tuple(key for service in services for key in ([each.key for each in self.of(service)] or [f"container {service}"]))


# --- reading ----------------------------------------------------------------------------------------------------------


def read(lines: Iterable[str]) -> Engine:
    """Raises InvalidRecord for a line that is neither a service nor a container."""
    services, containers = [], []
    for line in filter(None, map(str.strip, lines)):
        word, _, value = line.partition(" ")
        if word == "service":
            services.append(value)
        elif word == "container":
            containers.append(_container(value))
        else:
            raise InvalidRecord(f"{line[:80]!r}: a line is `service NAME` or `container JSON`")
    numbered = [each for each in containers if each.service]
    return Engine(tuple(services), tuple(sorted(numbered, key=lambda each: (each.service, each.name))))


def _container(text: str) -> Container:
    try:
        found = msgspec.json.decode(text)
        labels, state, networks = found["labels"] or {}, found["state"], found["networks"] or {}
        health = state.get("Health") or {}
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRecord(f"{text[:80]!r}: no container as the engine describes it ({error})") from error
    service = "" if labels.get("com.docker.compose.oneoff") == "True" else labels.get("com.docker.compose.service", "")
    number = labels.get("com.docker.compose.container-number", "1")
    inside: Mapping[str, Any] = next((each for name, each in networks.items() if name.endswith("crypto-bot-network")), {})
    return Container(
        service=service,
        name=f"{service}-{number}" if service in PIPELINE else service,
        address=inside.get("IPAddress") or "",
        status=state.get("Status", "unknown"),
        health=health.get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        restarts=found.get("restarts", 0),
        error=state.get("Error", ""),
        last_check=_last_check(health),
        out_of_memory=bool(state.get("OOMKilled")),
    )


def _last_check(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or [{}]
    said = " ".join(str(log[-1].get("Output", "")).split())
    # Our services tell their reason in JSON.
    reason = re.search(r'"reason": ?"((?:[^"\\]|\\.)+)"', said)
    return reason[1] if reason else said[:200]


# --- judging ----------------------------------------------------------------------------------------------------------


def container_rows(engine: Engine) -> list[Row]:
    """A row for each container, and one for each service that has none."""
    return [row for service in sorted(engine.services, key=_order) for row in _rows_of(engine, service)]


def needs_of(service: str) -> tuple[str, ...]:
    """The rows of the containers without which a service cannot be well."""
    return tuple(f"container {other}" for other in _NEEDS.get(service, ()))


def _rows_of(engine: Engine, service: str) -> list[Row]:
    mine = engine.of(service)
    needs = needs_of(service)
    peers = [each for broker in _BROKERS for each in engine.of(broker)] if service in _BROKERS else mine
    if not mine:
        return [Row("container", service, _fault(service, peers), "is not there: start it with scripts/deploy.sh up", needs)]
    return [_row(each, [other for other in peers if other is not each], needs) for each in mine]


def _row(container: Container, others: Sequence[Container], needs: tuple[str, ...]) -> Row:
    problem = _problem(container)
    state = _fault(container.service, others) if problem else State.OK
    return Row("container", container.name, state, problem or _well(container), needs)


def _problem(container: Container) -> str:
    if container.service == _ONE_SHOT:
        ended_well = container.status == "exited" and not container.exit_code
        return "" if ended_well or container.status == "running" else f"ended with status {container.exit_code}; see its log"
    if container.status != "running":
        return _stopped(container)
    if not container.address:
        return "has no address in crypto-bot-network: connect it, or make it anew with docker compose up"
    if container.health == "starting":
        return "is still starting"
    if container.health == "unhealthy":
        return f"unhealthy: {container.last_check or 'its check says nothing'}"
    return ""


def _stopped(container: Container) -> str:
    if container.out_of_memory:
        return f"{container.status}: it needed more memory than its limit"
    if container.status in {"exited", "dead"}:
        return f"exited with status {container.exit_code}{container.error and f': {container.error}'}; its log says why, scripts/deploy.sh up starts it"
    return f"is {container.status}{container.error and f': {container.error}'}"


def _well(container: Container) -> str:
    restarted = f", restarted {container.restarts} times" if container.restarts else ""
    return f"{'ended well' if container.status == 'exited' else container.health or container.status}{restarted}"


def _fault(service: str, others: Sequence[Container]) -> State:
    """How bad the loss of one container is: another that works takes its place."""
    replaced = any(not _problem(other) for other in others)
    return State.DOWN if service in _VITAL and not replaced else State.DEGRADED


def _order(service: str) -> tuple[int, str]:
    """Those that trade first, in the order of the data."""
    names = list(PIPELINE)
    return (names.index(service) if service in names else len(names), service)
