"""Judges what the services answer: each replica, each endpoint, the writer of the ledger, and whether trading is halted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scripts.operations.health_containers import PIPELINE, SIMULATOR, Container, needs_of
from scripts.operations.health_rows import Row, State

#: More records than this, there and not read, are a fault.
MOST_LAG = 5000
BROKER = "kafka broker"
#: What a replica says of itself on /metrics.
_LAG = "crypto_bot_consumer_lag_records"


class Answer(NamedTuple):
    """What came of one question over HTTP."""

    #: 0 when nobody answered.
    status: int
    body: Any
    #: Why it is not what was hoped; empty for a good answer.
    problem: str

    def get(self, *path: str) -> Any:
        """What the JSON answer holds there; None where it holds nothing."""
        found = self.body
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def replica_key(name: str) -> str:
    """Names the row of a replica."""
    return f"replica {name}"


def replica_row(container: Container, health: Answer, others: Iterable[Answer]) -> Row:
    """One replica by its own word; it is down when no other of its service is well."""
    needs = (container.key, *needs_of(container.service), *(() if container.service == SIMULATOR else (BROKER,)))
    if health.problem:
        reason = health.get("reason") or health.problem
        replaced = any(not other.problem for other in others)
        return Row("replica", container.name, State.DEGRADED if replaced else State.DOWN, str(reason), needs)
    role = health.get("role")
    return Row("replica", container.name, State.OK, " ".join(filter(None, (role, health.get("reason")))), needs)


def lag_row(container: Container, exposition: Answer) -> Row:
    """How far a replica is behind what it reads."""
    needs = (container.key, replica_key(container.name))
    if exposition.problem:
        return Row("lag", container.name, State.DEGRADED, f"not known: {exposition.problem}", needs)
    lag = _sample(str(exposition.body), _LAG)
    if lag is None:
        return Row("lag", container.name, State.DEGRADED, f"not known: /metrics has no {_LAG}", needs)
    state = State.DEGRADED if lag > MOST_LAG else State.OK
    return Row("lag", container.name, state, f"{lag:.0f} records behind{f', {MOST_LAG} is the limit' if lag > MOST_LAG else ''}", needs)


def _sample(exposition: str, metric: str) -> float | None:
    found = [line.rpartition(" ")[2] for line in exposition.splitlines() if line.startswith((f"{metric} ", f"{metric}{{"))]
    return sum(map(float, found)) if found else None


def endpoint_row(name: str, address: str, answer: Answer, needs: tuple[str, ...]) -> Row:
    """A service at the address that people use."""
    if answer.problem:
        state = State.DOWN if name in PIPELINE else State.DEGRADED
        return Row("endpoint", name, state, f"{address}: {answer.get('reason') or answer.problem}", needs)
    return Row("endpoint", name, State.OK, address, needs)


def writer_row(replicas: Mapping[str, Answer]) -> Row:
    """Somebody must write the ledger; replicas by name, those of execution."""
    needs = tuple(map(replica_key, replicas)) or ("container execution-service",)
    active = [name for name, health in replicas.items() if health.get("role") == "active"]
    if len(active) == 1:
        return Row("trading", "writer", State.OK, active[0], needs)
    text = f"{' and '.join(active)} both write the ledger: the older one should end" if active else "nobody writes the ledger: every replica stands by"
    return Row("trading", "writer", State.DEGRADED if active else State.DOWN, text, needs)


def halt_rows(state: Answer, needs: tuple[str, ...]) -> list[Row]:
    """What risk-manager bars from trading. A halt is what it is there for, so it is no fault."""
    if state.problem:
        return [Row("trading", "halts", State.DEGRADED, f"not known: {state.problem}", needs)]
    halts = state.get("halts") or []
    rows = [Row("trading", f"halt of {halt['target']}", State.NOTE, _halted(halt), needs) for halt in halts]
    return rows or [Row("trading", "halts", State.OK, "none", needs)]


def _halted(halt: Mapping[str, Any]) -> str:
    return f"{halt.get('verdict')} by {halt.get('rule')} ({halt.get('who')}: {halt.get('why')}); scripts/deploy.sh resume lifts it"


def position_row(answer: Answer, needs: tuple[str, ...]) -> Row:
    """What is held, since it matters for whoever is about to stop something."""
    if answer.problem:
        return Row("trading", "positions", State.DEGRADED, f"not known: {answer.problem}", needs)
    positions = answer.get("positions") or []
    held = [str(each.get("pair")) for each in positions if each.get("state") != "IDLE"]
    return Row("trading", "positions", State.OK, f"{len(held)} of {len(positions)} pairs hold a position{': ' if held else ''}{', '.join(held)}", needs)


# --- Redis ------------------------------------------------------------------------------------------------------------

REDIS = "redis server"


def redis_row(about: Mapping[str, Any], problem: str) -> Row:
    """Redis by its own `INFO`; `problem` says why there is none."""
    needs = ("container redis",)
    faults = [problem] if problem else list(_redis_faults(about))
    if faults:
        return Row("redis", "server", State.DEGRADED, "; ".join(faults), needs)
    used_mb, most_mb = (float(about.get(name, 0)) / 2**20 for name in ("used_memory", "maxmemory"))
    evicted = f", {about['evicted_keys']} keys evicted" if about.get("evicted_keys") else ""
    return Row("redis", "server", State.OK, f"{used_mb:.0f} of {most_mb:.0f} MB, append-only file written{evicted}", needs)


def _redis_faults(about: Mapping[str, Any]) -> Iterable[str]:
    if not about.get("aof_enabled"):
        yield "the append-only file is off: what is written is lost with the process"
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if about.get(name, "ok") != "ok":
            yield f"{name} is {about[name]}: look at its log and the free disk"
    if about.get("maxmemory_policy") not in {None, "allkeys-lru"}:
        yield f"maxmemory-policy is {about['maxmemory_policy']}, not allkeys-lru: when memory is full, writes are refused"


def registry_rows(replicas: Sequence[tuple[Container, Answer]], registered: Iterable[str]) -> list[Row]:
    """Whether each replica that answers has announced itself; `registered` are instances as `service:instance`."""
    known = set(registered)
    rows = []
    for container, health in replicas:
        needs = (REDIS, replica_key(container.name))
        announced = f"{container.service}:{health.get('instance')}" in known
        state, text = (State.OK, "announced") if announced else (State.DEGRADED, "is not in the registry: it does not reach Redis, or not any more")
        rows.append(Row("redis", container.name, state, text, needs))
    return rows
