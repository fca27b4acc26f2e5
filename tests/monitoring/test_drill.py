"""The drill itself: what covers every route arrives and resolves, in a running system."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.drill.catalogue import ROUTE_SET
from scripts.drill.report import read_json
from scripts.faults.servers import KAFKA_SCRIPT
from tests.levels import all_level
from tests.monitoring.tools import require_alertmanager, require_tool
from tests.repo.tree import ROOT

MOST_S = 300.0


@all_level
@pytest.mark.skipif(not KAFKA_SCRIPT.exists(), reason="needs a Kafka that can be stopped")
def test_an_alert_of_every_route_arrives_and_resolves(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Slack, mail, PagerDuty and the heartbeat hear of real causes, a cause mutes its symptom, and all ends within five minutes."""
    require_tool("prometheus")
    require_alertmanager()
    results, began_s = tmp_path / "results.json", time.monotonic()
    command = [sys.executable, "-m", "scripts.alert_drill", "--route-set", "--folder", str(tmp_path / "drill"), "--json", str(results)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * MOST_S)
    took_s = time.monotonic() - began_s
    record_property("says", f"drill of {len(ROUTE_SET)} alerts: {took_s:.0f} s")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert set(read_json(results)) == set(ROUTE_SET)
    assert took_s < MOST_S
