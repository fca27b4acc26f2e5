"""A real run's log lines, and a decision of it traced back to its tick."""

import json
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from scripts.embedded.options import ROOT
from scripts.sessions.ledgers import reading
from tests.levels import all_level
from tests.system.demo import QUICK, Demo
from tests.system.recordings import cut_klines

ENVELOPE = ["ts", "level", "service", "instance", "event"]
LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
#: An entry all of whose first order's fills are there.
_ENTRY = """
SELECT * FROM decisions WHERE action LIKE 'ENTER%' AND trace_id <> '' AND EXISTS
    (SELECT 1 FROM orders JOIN order_events USING (client_id) WHERE orders.pair = decisions.pair AND orders.seq = decisions.seq AND status = 'FILLED')
ORDER BY id LIMIT 1
"""


def rows(path: Path, question: str, *parameters: object) -> list[dict[str, Any]]:
    """What the ledger answers; nothing while there is none, or no table in it yet."""
    if not path.exists():
        return []
    try:
        with reading(path) as connection:
            return [dict(row) for row in connection.execute(question, parameters)]
    except sqlite3.OperationalError:
        return []


def trace(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As it is typed."""
    command = [sys.executable, "scripts/trace.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False, timeout=120)


def lines_of(demo: Demo) -> list[dict[str, Any]]:
    """Every line of every process; each must be JSON."""
    return [json.loads(line) for log in sorted((demo.data / "logs").glob("*.log")) for line in log.read_text(encoding="utf-8").splitlines()]


@all_level
def test_a_decision_leads_back_to_its_tick(tmp_path: Path) -> None:
    """Its id in the ledger finds tick, estimate, decision, orders and fills, as the ledger has them; every log line has the one form."""
    recording = str(cut_klines(tmp_path / "recording", 1440))
    with Demo(tmp_path, ["--recording", recording, "--keep-going"], {**QUICK, "LOG_LEVEL": "DEBUG"}) as demo:
        demo.wait_until(partial(rows, demo.ledger, _ENTRY), "a filled entry")
        (decision,) = rows(demo.ledger, _ENTRY)
        lines = lines_of(demo)
        kafka = next(line["kafka"] for line in lines if line["event"] == "connecting")
        found = trace(decision["trace_id"], "--bootstrap", kafka, "--json", "--pair", decision["pair"])
        assert found.returncode == 0, found.stderr
        require_ledger_s(json.loads(found.stdout), decision, demo.ledger)
        assert trace(decision["trace_id"][:15], "--bootstrap", kafka).stdout.startswith(f"trace {decision['trace_id']}, read from the socket at 20")
        assert trace("18cb5d1f2a3b4c5d", "--bootstrap", kafka).returncode == 1
        assert trace("nonsense", "--bootstrap", kafka).returncode == 2
    require_schema(lines, decision)


def require_ledger_s(document: dict[str, Any], decision: dict[str, Any], ledger: Path) -> None:
    """One tick of one pair; each service's times follow the one before; what came of it is the ledger's."""
    (way,) = document["ways"]
    assert (document["trace_id"], way["pair"], way["seq"], way["kind"]) == (decision["trace_id"], decision["pair"], decision["seq"], "tick")
    assert [(hop["service"], hop["record"].split("/")[0]) for hop in way["hops"]] == [
        ("ingestion-service", "ticks"),
        ("kalman-filter-service", "hedge-ratios"),
        ("execution-service", "executions"),
    ]
    times = [document["read_at_ns"], *(time for hop in way["hops"] for time in (hop["received_ns"], hop["sent_ns"]))]
    assert times == sorted(times)
    assert [each["action"] for each in way["decisions"]] == [decision["action"]]
    ordered = rows(ledger, "SELECT client_id FROM orders WHERE trace_id = ?", decision["trace_id"])
    assert {each["client_id"] for each in way["orders"]} >= {each["client_id"] for each in ordered if ordered}
    assert ordered
    for order in ordered:
        fills = rows(ledger, "SELECT trade_id FROM fills WHERE client_id = ?", order["client_id"])
        assert {each["trade_id"] for each in way["fills"]} >= {each["trade_id"] for each in fills}


def require_schema(lines: list[dict[str, Any]], decision: dict[str, Any]) -> None:
    """Every line has the five fields first; what is about a tick or bar names pair and trace, from the bar's close to the order."""
    assert {line["service"] for line in lines} >= {"exchange-simulator", "ingestion-service", "execution-service"}
    assert [line for line in lines if list(line)[:5] != ENVELOPE or line["level"] not in LEVELS] == []
    told = [line for line in lines if line["event"] in {"decision", "order", "fill", "bar closed", "bar answered"}]
    assert [line for line in told if not line["pair"] or len(line["trace_id"]) != 16] == []
    assert {line["service"] for line in told} >= {"ingestion-service", "kalman-filter-service", "garch-volatility-service", "execution-service"}
    assert {"decision", "order"} <= {line["event"] for line in lines if line.get("trace_id") == decision["trace_id"]}
