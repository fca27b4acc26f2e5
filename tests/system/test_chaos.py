"""Half a minute of faults on a real Kafka: real processes, and the proof that no decision changed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.embedded.options import ROOT
from scripts.faults.servers import KAFKA_SCRIPT
from tests.levels import all_level
from tests.system.demo import TRACEBACK, processes_with

needs_own_kafka = pytest.mark.skipif(not KAFKA_SCRIPT.exists(), reason=f"needs a Kafka that it may kill: {KAFKA_SCRIPT.name} is not beside the project")
#: Half a minute of faults; starts, recoveries and proofs take several times as long on a busy machine.
PATIENCE_S = 900.0


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, in a folder of its own."""
    command = [sys.executable, "-m", "scripts.chaos", "--folder", str(folder / "chaos"), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def left_running(folder: Path) -> list[int]:
    """Services, simulator and broker of a run that are still alive."""
    broker = subprocess.run([KAFKA_SCRIPT, "status", "--dir", str(folder / "chaos" / "broker")], capture_output=True, check=False).returncode == 0
    services = [pid for number in (1, 2) for pid in processes_with(f"DATA_DIR={folder / 'chaos' / f'act-{number}' / 'data'}")]
    return services + [0] * broker


@all_level
@needs_own_kafka
def test_half_a_minute_of_faults_changes_no_decision(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Services, broker and Redis are killed while they work, and every message and row of the ledger is as it must be; the last line is shown."""
    seed = os.environ.get("CHAOS_SEED", "7")
    run = start(tmp_path, "--minutes", "0.5", "--seed", seed, "--json", str(tmp_path / "chaos.json"))
    output, _ = run.communicate(timeout=PATIENCE_S)
    record_property("says", output.splitlines()[-1])
    assert TRACEBACK not in output
    assert run.returncode == 0, output
    found = json.loads((tmp_path / "chaos.json").read_text(encoding="utf-8"))
    assert found["passed"]
    assert sum(act["replayed"] for act in found["acts"]) > 0
    assert {fault["victim"] for act in found["acts"] for fault in act["faults"]} >= {"broker", "redis", "ingestion-service", "execution-service"}
    assert left_running(tmp_path) == []


@all_level
@needs_own_kafka
def test_ctrl_c_in_the_middle_of_faults_leaves_nothing(tmp_path: Path) -> None:
    """Stopped while services are down, it ends with status 130 and takes everything with it."""
    run = start(tmp_path, "--minutes", "0.5", "--seed", "3")
    assert run.stdout is not None
    began = False
    for line in run.stdout:
        if began and "kill -9" in line:
            break
        began = began or line == "act 1 begins\n"
    run.send_signal(signal.SIGINT)
    asked_at = time.monotonic()
    output, _ = run.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - asked_at < 120
    assert run.returncode == 130, output
    assert TRACEBACK not in output
    assert left_running(tmp_path) == []
