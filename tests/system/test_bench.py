"""The bench of latency with real processes on a real broker."""

import json
import subprocess
import sys
from pathlib import Path

from scripts.embedded.options import ROOT

SECONDS = 3


def test_latency_is_measured_hop_by_hop(kafka_bootstrap_servers: str, tmp_path: Path) -> None:
    """A short run gives every figure of the report, and none of them can be zero by mistake."""
    report = tmp_path / "latency.json"
    options = ["--speeds", "1", "--modes", "conflated", "--runs", "1", "--seconds", str(SECONDS), "--warm-up", str(SECONDS), "--base-port", "18300"]
    command = [
        sys.executable,
        "-m",
        "scripts.bench.latency",
        "--bootstrap",
        kafka_bootstrap_servers,
        "--folder",
        str(tmp_path),
        "--json",
        str(report),
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(report.read_text())["runs"]
    assert run["ticks"] > 50 * SECONDS
    assert 0 < run["pipeline_ms"]["p50"] <= run["pipeline_ms"]["p99"] <= run["pipeline_ms"]["p999"]
    assert list(run["hops_ms"]) == ["ingestion", "ticks", "kalman-filter", "hedge-ratios", "execution"]
    assert 0 < sum(figures["p50"] for figures in run["hops_ms"].values()) < 5 * run["pipeline_ms"]["p50"]
    assert min(run["rss_mb"].values()) > 10
    assert 200 < run["record_bytes"] < 2000
