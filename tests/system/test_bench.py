"""The bench of latency with real processes on a real broker."""

import json
import subprocess
import sys
from pathlib import Path

from scripts.bench.figures import EVERY_TICK, Case
from scripts.bench.pipeline import Pipeline, Plan
from scripts.embedded.options import ROOT
from scripts.embedded.plan import GARCH

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


def test_all_but_volatility_are_started_by_the_launcher(kafka_bootstrap_servers: str, tmp_path: Path) -> None:
    """A refit takes 50 ms of a processor, and in SCHED_RR nobody could take it away."""
    plan = Plan(kafka_bootstrap_servers, ROOT / "data/ticks/usdm-20240808", Case("1", EVERY_TICK), tmp_path, 18300, launcher=("env", "LAUNCHED=yes"))
    with Pipeline(plan, lambda _: None) as pipeline:
        launched = {process.name: b"LAUNCHED=yes" in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") for process in pipeline._processes}
    assert [name for name, is_so in launched.items() if not is_so] == [GARCH]
    assert len(launched) == 6
