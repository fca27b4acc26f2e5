"""The command that measures latency."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.latency import main
from scripts.bench.pipeline import Samples
from scripts.bench.resources import usage_of
from scripts.bench.servers import SCHED_RR, client_settings
from scripts.embedded.options import ROOT
from tests.unit.bench.builders import GOOD, entry


@pytest.fixture
def report(tmp_path: Path) -> Path:
    about = {"cpu": "a processor", "cores": 2, "memory_gb": 8.0, "system": "Linux", "python": "3.11.7", "load_before": 0.1}
    runs = [entry(), entry("5", end_to_end_ms={**GOOD, "p99": 12.0})]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"runs": runs, "machine": about, "commit": "abc", "at": "then", "command": "this"}))
    return path


def test_a_report_of_before_is_shown_again(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables for a page come from a file; what was measured is not measured again."""
    assert main(["--table", str(report), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "a processor, 2 cores, 8.0 GB, Linux, Python 3.11.7, load before 0.1; commit abc, then; this" in shown
    assert "| 5x | every-tick |" in shown
    assert "missed: 5x, every-tick: p99 12.0 ms is over 10 ms" in shown


def test_a_missed_budget_fails_only_when_asked(report: Path) -> None:
    """With --check the exit status says so."""
    assert main(["--table", str(report), "--check"]) == 1


@pytest.mark.parametrize("arguments", [["--speeds", "7"], ["--modes", "none"], ["--runs", "0"], ["--seconds", "-1"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be run is refused with status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err


def test_a_report_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong file is named, with status 1."""
    assert main(["--table", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_it_runs_as_a_file() -> None:
    """From another folder and without the module switch, too."""
    done = subprocess.run([sys.executable, ROOT / "scripts/bench/latency.py", "--help"], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--speeds" in done.stdout


@pytest.mark.parametrize(("option", "mark"), [([], "latency"), (["--sched-rr"], "latency-sched-rr")])
def test_each_scheduling_class_has_its_own_table_in_a_page(option: list[str], mark: str, report: Path, tmp_path: Path) -> None:
    """Neither takes the place of the other."""
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name}: made by scripts/bench -->\n<!-- end of {name} -->\n" for name in ("latency", "latency-sched-rr")))
    assert main(["--table", str(report), "--page", str(page), *option]) == 0
    filled = page.read_text().split("a processor")
    assert len(filled) == 2
    assert filled[0].rstrip().endswith(f"<!-- {mark}: made by scripts/bench -->")


@pytest.mark.parametrize("program", ["false", "no-such-program"])
def test_a_scheduling_class_that_is_refused_is_said_before_anything_starts(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the right to it, or without the program that sets it: status 2, and what is needed."""
    monkeypatch.setattr("scripts.bench.servers.SCHED_RR", (program, *SCHED_RR[1:]))
    monkeypatch.setattr("scripts.bench.latency.run_all", lambda *_: pytest.fail("started"))
    assert main(["--sched-rr", "--folder", str(tmp_path)]) == 2
    assert "--sched-rr needs Linux, chrt (util-linux) and root" in capsys.readouterr().err


def test_the_relay_is_given_the_pipelines_settings() -> None:
    """As key=value, without those that it sets itself."""
    producer, consumer = client_settings()
    assert {"acks=all", "enable.idempotence=true", "linger.ms=0"} <= set(producer)
    assert "fetch.min.bytes=1" in consumer
    assert not [setting for setting in (*producer, *consumer) if setting.startswith(("bootstrap", "client.id", "group.id", "auto.offset.reset"))]


def test_metrics_are_summed_over_their_labels() -> None:
    """A counter's total is that of all its children; one that was never counted is zero."""
    samples = Samples('# HELP a_total x\na_total{k="1"} 2.0\na_total{k="2"} 3.0\nb 1e3\n')
    assert (samples.total("a_total"), samples.total("b"), samples.total("c")) == (5, 1000, 0)


def test_usage_of_a_process() -> None:
    """CPU time, memory and open files of this very process are not zero; those of one that has ended are."""
    mine = usage_of(os.getpid())
    assert mine.cpu_s > 0
    assert mine.rss_mb > 10
    assert mine.files >= 3
    assert usage_of(2**22 + 1) == (0, 0, 0)
