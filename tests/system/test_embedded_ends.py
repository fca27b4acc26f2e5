"""How a run ends: by Ctrl-C at any moment, by its options, and when its feed breaks."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from scripts.embedded.plan import SERVICES
from tests.levels import all_level
from tests.system.demo import QUICK, QUICK_TICKS, TRACEBACK, Demo, Played, ShortTicks, play, require_refusal
from tests.system.ledgers import marks_so_far

#: From Ctrl-C to the end of everything, seconds.
STOPPED_WITHIN_S = 15.0


def test_ctrl_c_ends_everything_and_a_busy_port_ends_the_second_run(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """While one run holds the ports another refuses to start in one line; Ctrl-C then ends the first within seconds and leaves no process."""
    with Demo(tmp_path / "first", ["--recording", str(short_ticks.recording), "--speed", "1"], QUICK_TICKS) as first:
        first.wait_until(lambda: "playing" in first.output, "the start of the recording")
        assert len(first.running()) > len(SERVICES)
        with Demo(tmp_path / "second", [], {}, base_port=first.base_port) as second:
            require_refusal(second, "is in use", "--base-port")
        asked_at = time.monotonic()
        first.process.send_signal(signal.SIGINT)
        result = first.result()
        assert time.monotonic() - asked_at < STOPPED_WITHIN_S
        assert first.running() == []
    assert TRACEBACK not in result.output + result.errors
    assert result.errors == ""
    assert result.status == 0, result


@all_level
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_services_are_ready_ends_everything(number: int, klines: Played, tmp_path: Path) -> None:
    """Ctrl-C or a supervisor's SIGTERM while the services start leaves no process and no traceback."""
    with Demo(tmp_path, ["--recording", str(klines.recording)], QUICK) as demo:
        demo.wait_until(lambda: len(demo.running()) > len(SERVICES), "the services' start")
        asked_at = time.monotonic()
        demo.process.send_signal(number)
        result = demo.result()
        assert time.monotonic() - asked_at < STOPPED_WITHIN_S
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors


@all_level
def test_an_impatient_second_ctrl_c_leaves_nothing_either(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """Ctrl-C again while everything stops: no process stays, and no traceback is shown."""
    with Demo(tmp_path, ["--recording", str(short_ticks.recording), "--speed", "1"], QUICK_TICKS) as demo:
        demo.wait_until(lambda: "playing" in demo.output, "the start of the recording")
        demo.process.send_signal(signal.SIGINT)
        demo.wait_until(lambda: "stopping" in demo.output, "the first answer")
        demo.process.send_signal(signal.SIGINT)
        result = demo.result()
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors, result.errors


@all_level
def test_ctrl_c_while_kafka_is_sought_ends_the_run(klines: Played, tmp_path: Path) -> None:
    """Waiting for a Kafka that is not there can be broken off."""
    with Demo(tmp_path, ["--recording", str(klines.recording)], {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}) as demo:
        demo.wait_until(demo.data.exists, "the start of the run")
        asked_at = time.monotonic()
        demo.process.send_signal(signal.SIGINT)
        result = demo.result()
        assert time.monotonic() - asked_at < STOPPED_WITHIN_S
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors, result.errors


@all_level
def test_a_run_may_be_kept_short(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """`--duration` ends a run early and well."""
    short = play(tmp_path / "short", short_ticks.recording, QUICK_TICKS, "--speed", "1", "--duration", "5")
    assert (short.result.status, short.summary["problems"]) == (0, []), short.result
    assert 0 < short.summary["bars"] < 20


@all_level
@pytest.mark.parametrize("victim", ["ingestion-service", "exchange-simulator"])
def test_a_run_whose_feed_is_killed_ends_and_says_so(victim: str, short_ticks: ShortTicks, tmp_path: Path) -> None:
    """What a broken feed loses is lost, but the run comes to an end and names the part that failed."""
    with Demo(tmp_path, ["--recording", str(short_ticks.recording), "--speed", "5", "--summary", "summary.json"], QUICK_TICKS) as demo:
        demo.wait_until(lambda: marks_so_far(demo.ledger) > 10, "some bars")
        demo.kill(victim)
        result = demo.result(timeout_s=120)
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors
    assert result.status == 1, result
    assert any(victim in problem for problem in json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["problems"])


@all_level
def test_a_recording_that_breaks_while_it_plays_is_a_problem_and_no_standstill(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """A recording that is cut off after the start ends the run with status 1 and the reason among the problems."""
    recording = shutil.copytree(short_ticks.recording, tmp_path / "recording")
    with Demo(tmp_path, ["--recording", str(recording), "--speed", "5", "--summary", "summary.json"], QUICK_TICKS) as demo:
        demo.wait_until(lambda: "playing" in demo.output, "the start of the recording")
        for file in recording.glob("*.gz"):
            os.truncate(file, file.stat().st_size // 2)
        result = demo.result()
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors
    assert result.status == 1, result
    assert "cut off" in " ".join(json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["problems"])
