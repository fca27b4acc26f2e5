"""What operators run, on a real stack: the health check, told what is broken, and backups, restored into empty volumes."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.engine.stack import CONTROL_TOKEN, IN_FULL, Stack, eventually
from tests.repo.tree import ROOT


def script(stack: Stack, name: str, *arguments: str, folder: Path = ROOT, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one of our scripts on the test stack."""
    environment = {**os.environ, **stack.environment}
    ran = subprocess.run([ROOT / "scripts" / name, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert may_fail or ran.returncode == 0, f"{name} {' '.join(arguments)}: {ran.returncode} {ran.stdout[-3000:]} {ran.stderr[-2000:]}"
    return ran


def look(stack: Stack) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status and the rows of a health check, by key."""
    ran = script(stack, "health-check.sh", "--json", may_fail=True)
    rows = {f"{row['group']} {row['subject']}": row for row in json.loads(ran.stdout)["rows"]}
    return ran.returncode, rows


# --- health check -----------------------------------------------------------------------------------------------------


class Break(NamedTuple):
    """Something that is broken, the one row that then is bad, and how it is mended."""

    row: str
    status: int
    reason: str
    how: Callable[[Stack], object]
    mend: Callable[[Stack], object]
    #: Rows that must be seen to follow from it.
    follows: tuple[str, ...] = ()
    #: The others are for a run by hand: ENGINE_TESTS=all.
    quick: bool = True


def _stop(service: str, status: int = 1, follows: tuple[str, ...] = (), *, row: str = "", quick: bool = False) -> Break:
    return Break(
        f"container {row or service}",
        status,
        "exited",
        lambda stack: stack.compose("stop", "--timeout", "20", service),
        lambda stack: stack.compose("up", "--detach", "--no-recreate", service),
        follows,
        quick,
    )


def _pause(service: str, status: int, follows: tuple[str, ...]) -> Break:
    return Break(
        f"container {service}", status, "is paused", lambda stack: stack.compose("pause", service), lambda stack: stack.compose("unpause", service), follows
    )


def _in_container(service: str, *command: str) -> Callable[[Stack], object]:
    return lambda stack: stack.compose("exec", "-T", service, *command)


def signal_process(service: str, module: str, number: str) -> Callable[[Stack], object]:
    """Stop, continue or end the process itself, so that its container still looks well for a while."""
    find = f"for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^python -m {module}'; then kill -{number} ${{p#/proc/}}; fi; done"
    return _in_container(service, "bash", "-c", find)


def _kafka_config(change: str) -> Callable[[Stack], object]:
    tool = "/opt/kafka/bin/kafka-configs.sh"
    return _in_container(
        "kafka", tool, "--bootstrap-server", "localhost:9092", "--alter", "--entity-type", "topics", "--entity-name", "commands", *change.split()
    )


BREAKS = (
    _stop("redis", follows=("redis server", "redis execution-service-1"), quick=True),
    _stop("gateway", follows=("endpoint execution-service",)),
    _pause("kafka", 2, ("kafka broker", "topic ticks", "group kalman-filter-service")),
    Break(
        "replica garch-volatility-service-1",
        2,
        "does not answer",
        signal_process("garch-volatility-service", "services.garch_volatility", "STOP"),
        signal_process("garch-volatility-service", "services.garch_volatility", "CONT"),
        ("lag garch-volatility-service-1",),
    ),
    Break(
        "topic commands",
        1,
        "retention.ms",
        _kafka_config("--add-config retention.ms=1000000"),
        lambda stack: stack.compose("run", "--rm", "--no-deps", "topics"),
        quick=False,
    ),
    Break(
        "redis server",
        1,
        "append-only file is off",
        _in_container("redis", "redis-cli", "config", "set", "appendonly", "no"),
        _in_container("redis", "redis-cli", "config", "set", "appendonly", "yes"),
        quick=False,
    ),
    _stop("alertmanager", follows=("alertmanager server", "alertmanager alerts")),
    _stop("prometheus", follows=("prometheus server", "target all", "rule all", "grafana data source prometheus")),
    _stop("grafana", follows=("grafana server", "grafana dashboard crypto-bot-trading")),
    _stop("streamlit", follows=("endpoint streamlit",)),
    _stop("kafka-ui", follows=("endpoint kafka-ui",)),
    _stop("kafka", 2, ("kafka broker", "topic ticks")),
    _stop("exchange-simulator", 2, ("replica exchange-simulator",)),
    *(
        _stop(f"{name}-service", 2, (f"replica {name}-service-1", f"endpoint {name}-service"), row=f"{name}-service-1")
        for name in ("ingestion", "kalman-filter", "garch-volatility", "execution", "risk-manager")
    ),
)


def health_check_says_healthy(stack: Stack) -> None:
    """Every row of the running stack is well, from any folder; without -v the table has a line a group."""
    ran = script(stack, "health-check.sh", "--wait", "120", folder=Path("/"))
    stack.say(ran.stdout)
    status, rows = look(stack)
    assert status == 0
    assert len(rows) > 60
    assert {row["state"] for row in rows.values()} <= {"ok", "note"}


def each_broken_subject_is_the_one_bad_row(stack: Stack) -> None:
    """One after the other is broken: exactly its row is a fault, with the reason; what needs it follows; once mended all is well."""
    for each in BREAKS:
        if each.quick or IN_FULL:
            _see(stack, each)


def _see(stack: Stack, broken: Break) -> None:
    started = time.monotonic()
    broken.how(stack)
    try:
        status, rows = look(stack)
        faults = {key: row for key, row in rows.items() if row["state"] in {"degraded", "down"}}
        assert (set(faults), status) == ({broken.row}, broken.status), json.dumps(faults, indent=1)
        assert broken.reason in faults[broken.row]["text"]
        assert {key: rows[key]["state"] for key in broken.follows} == dict.fromkeys(broken.follows, "follows")
    finally:
        broken.mend(stack)
        script(stack, "health-check.sh", "--wait", "150", "--quiet")
    stack.say(f"{broken.row}: seen and mended in {time.monotonic() - started:.0f} s")


# --- backup -----------------------------------------------------------------------------------------------------------


def a_backup_is_restored_into_empty_volumes(stack: Stack) -> None:
    """With every volume gone, Kafka's too, positions, halts, dashboards and metrics are as they were, and a new market session goes on."""
    with tempfile.TemporaryDirectory() as folder:
        _hold_something(stack)
        before, last_mark = _what_lasts(stack), _newest_mark(stack)
        archive = script(stack, "deploy.sh", "backup", "--", "--directory", folder).stdout.strip()
        stack.compose("down", "--volumes", "--timeout", "20")
        stack.say(script(stack, "deploy.sh", "restore", "--yes", archive, folder=Path("/")).stdout)
    # Without ingestion nothing moves.
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "300", "--scale", "ingestion-service=0")
    assert eventually(lambda: _what_lasts(stack) == before, 60), (_what_lasts(stack), before)
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "300")
    assert eventually(lambda: _newest_mark(stack)[0] > last_mark[0], 60)
    assert script(stack, "health-check.sh", "--wait", "120", "--json").returncode == 0


def _hold_something(stack: Stack) -> None:
    """Have a position and a halt, a database of Grafana's and a moment without ticks, so that nothing moves while it is compared."""
    eventually(lambda: any(each["state"] != "IDLE" for each in (stack.get("EXECUTION_PORT", "/positions") or {}).get("positions", ())), 60)
    stack.compose("stop", "--timeout", "20", "ingestion-service")
    assert stack.command("halt", CONTROL_TOKEN, "a backup must keep it") == 202
    _grafana(stack, "made = sqlite3.connect('/volumes/grafana/kept.db'); made.execute('CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS value'); made.commit()")


def _grafana(stack: Stack, program: str) -> str:
    command = ("python", "-c", f"import sqlite3; {program}")
    return stack.compose("--progress", "quiet", "run", "--rm", "--no-deps", "-T", "--user", "472:0", "backup", *command)


def _what_lasts(stack: Stack) -> dict[str, Any]:
    positions = (stack.get("EXECUTION_PORT", "/positions") or {}).get("positions", ())
    state = stack.get("RISK_MANAGER_PORT", "/state") or {}
    return {
        "positions": [{name: each[name] for name in ("pair", "state", "direction", "opened_bar", "legs", "working_orders")} for each in positions],
        "profit": (stack.get("EXECUTION_PORT", "/pnl") or {}).get("total"),
        "halts": state.get("halts"),
        "high_water_mark_usd": state.get("high_water_mark_usd"),
        "dashboards": [board["uid"] for board in stack.get("GRAFANA_PORT", "/api/search") or ()],
        "grafana": _grafana(stack, "print(sqlite3.connect('/volumes/grafana/kept.db').execute('SELECT value FROM kept').fetchone()[0])").strip(),
        "metrics": bool(stack.metric("count_over_time(crypto_bot_build_info[1h] offset 20s) > 0")),
    }


def _newest_mark(stack: Stack) -> tuple[int, int]:
    """Session and bar of the newest mark in the ledger."""
    command = ("sqlite3", "-readonly", "/app/data/trading.db", "SELECT session, bar FROM marks ORDER BY session DESC, bar DESC LIMIT 1")
    session, bar = stack.compose("exec", "-T", "execution-service", *command).strip().split("|")
    return int(session), int(bar)
