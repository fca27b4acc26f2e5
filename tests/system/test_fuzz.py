"""Twenty thousand random records on the topics of a real broker, five services at work."""

import json
import subprocess
import sys
from pathlib import Path

from scripts.embedded.options import ROOT
from tests.system.demo import free_base_port

RECORDS = 20_000


def test_poison_stops_nothing(kafka_bootstrap_servers: str, tmp_path: Path) -> None:
    """Each record is set aside once by each reader; services go unready, stay up, come back and go on deciding."""
    report = tmp_path / "fuzz.json"
    options = ["--records", str(RECORDS), "--memory", "10", "--base-port", str(free_base_port()), "--folder", str(tmp_path), "--json", str(report)]
    command = [sys.executable, "-m", "scripts.fuzz", "--bootstrap", kafka_bootstrap_servers, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = json.loads(report.read_text())
    assert outcome["passed"]
    assert outcome["dead_letters"] + outcome["dropped"] == RECORDS
    assert set(outcome["unready"]) >= {"execution-service", "kalman-filter-service"}
