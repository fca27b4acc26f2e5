"""Real processes on real recordings: what they decide, at any speed, on any broker, killed or not, and how they sum it up."""

import json
import resource
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.embedded.plan import SERVICES
from scripts.sessions.ledgers import Rows, ledger
from tests.levels import all_level
from tests.system.demo import QUICK, QUICK_TICKS, TRACEBACK, Demo, Played, Result, ShortTicks, play
from tests.system.ledgers import in_memory, marks_so_far, require_equal
from tests.system.recordings import BARS, add_nonsense, csv_klines, cut_klines, cut_ticks
from tests.unit.embedded.example import SUMMARY_KEYS


def require_balance(summary: dict[str, Any]) -> None:
    """Every frame is accounted for, every dollar too."""
    assert summary["frames"] > 0
    assert summary["frames"] == summary["ticks"] + summary["conflated"] + summary["dead_letters"] + summary["ignored"]
    parts = sum(summary[name] for name in ("gross_pnl_usd", "fees_usd", "funding_usd"))
    assert summary["net_pnl_usd"] == pytest.approx(parts, abs=1e-6)


def require_promised(summary: dict[str, Any]) -> None:
    """Exactly the stated keys, those of every service too."""
    assert set(summary) == set(SUMMARY_KEYS)
    assert set(summary["tick_to_decision_ms"]) == {"p50", "p99", "max"}
    assert set(SERVICES) <= set(summary["services"])
    for service in summary["services"].values():
        assert set(service) == {"restarts", "rss_mb", "messages"}
        assert min(service["messages"], service["rss_mb"]) > 0


# --- the same everywhere -----------------------------------------------------------------------------------------------


def test_ticks_at_full_speed_decide_what_memory_decides(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """The processes over the network decide, order, fill and mark what the services do in one process."""
    played = play(tmp_path, short_ticks.recording, QUICK_TICKS)
    assert played.result.status == 0, played.result
    require_equal(played.ledger, short_ticks.ledger)


def test_ticks_at_twenty_times_their_pace_and_nonsense_among_them_decide_the_same(short_ticks: ShortTicks, tmp_path: Path) -> None:
    """Neither speed nor broken frames change a decision; each broken frame is a dead letter, and the books balance with them."""
    recording = shutil.copytree(short_ticks.recording, tmp_path / "recording")
    nonsense = add_nonsense(recording)
    played = play(tmp_path, recording, QUICK_TICKS, "--speed", "20")
    assert played.result.status == 0, played.result
    assert played.summary["dead_letters"] == nonsense
    require_balance(played.summary)
    require_equal(played.ledger, short_ticks.ledger)


def test_an_undisturbed_run_of_klines_ends_well_decides_what_memory_decides_and_says_so(klines: Played, tmp_path: Path) -> None:
    """Status 0, nothing on stderr and no process left; the ledger is the one in memory, and the summary has the promised keys and the ledger's figures."""
    assert (klines.result.status, klines.result.errors, klines.left_running) == (0, "", []), klines.result
    require_equal(klines.ledger, in_memory(tmp_path / "memory", klines.recording, QUICK))
    summary = klines.summary
    assert summary["problems"] == []
    require_promised(summary)
    require_balance(summary)
    assert summary["fees_usd"] < 0
    for name, table in (("decisions", "decisions"), ("orders", "orders"), ("fills", "fills"), ("round_trips", "round_trips"), ("bars", "marks")):
        assert summary[name] == len(klines.ledger[table]), name
    assert sum(summary["bars_by_model"].values()) == summary["bars"] == 2 * BARS


@all_level
def test_every_frame_at_the_exchange_s_own_pace_decides_what_memory_decides(tmp_path: Path) -> None:
    """A minute of ticks at 1x and at full speed, in real processes, equals the run in memory."""
    recording = cut_ticks(tmp_path / "recording", 60)
    expected = in_memory(tmp_path / "memory", recording, QUICK_TICKS)
    for speed in ("1", "max"):
        played = play(tmp_path / speed, recording, QUICK_TICKS, "--speed", speed)
        assert played.result.status == 0, played.result
        require_equal(played.ledger, expected)


@all_level
def test_a_real_kafka_decides_what_memory_decides(kafka_bootstrap_servers: str, klines: Played, tmp_path: Path) -> None:
    """The caller's own Kafka changes no decision, and a second run on it starts from nothing."""
    for name in ("first", "second"):
        played = play(tmp_path / name, klines.recording, {**QUICK, "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers})
        assert played.result.status == 0, played.result
        require_equal(played.ledger, klines.ledger)


@all_level
def test_the_format_of_a_recording_changes_no_decision(klines: Played, tmp_path: Path) -> None:
    """The same minutes in the exchange's CSV columns give the ledger of the feather files."""
    played = play(tmp_path, csv_klines(tmp_path / "futures", BARS), QUICK, "--market", "futures")
    assert played.result.status == 0, played.result
    require_equal(played.ledger, klines.ledger)


# --- kills -----------------------------------------------------------------------------------------------------------


def has_marked_more_than(demo: Demo, marks: int) -> bool:
    """Whether the ledger of a run holds more marks by now."""
    return marks_so_far(demo.ledger) > marks


def play_and_kill(folder: Path, recording: Path, kills: Sequence[tuple[int, Sequence[str]]]) -> tuple[Result, dict[str, Any], dict[str, Rows]]:
    """A run during which services are killed, each time when there are more marks than a number."""
    with Demo(folder, ["--recording", str(recording), "--summary", "summary.json"], QUICK) as demo:
        for marks, victims in kills:
            demo.wait_until(partial(has_marked_more_than, demo, marks), f"{marks} marks")
            for service in victims:
                demo.kill(service)
        result = demo.result()
        assert demo.running() == []
        assert TRACEBACK not in result.output + result.errors
        return result, json.loads((folder / "summary.json").read_text(encoding="utf-8")), ledger(demo.ledger)


def test_killed_services_come_back_and_change_no_decision(tmp_path: Path) -> None:
    """`kill -9` of four services in the middle of a run is restarted, counted and reported, and the ledger is that of a run without kills."""
    recording = cut_klines(tmp_path / "recording", BARS)
    models, owners = ("kalman-filter-service", "garch-volatility-service"), ("risk-manager-service", "execution-service")
    result, summary, found = play_and_kill(tmp_path / "killed", recording, ((0, models), (BARS, owners)))
    assert result.status == 1, result
    assert {name: summary["services"][name]["restarts"] for name in SERVICES} == {"ingestion-service": 0} | dict.fromkeys(models + owners, 1), result
    for service in models + owners:
        assert any(service in problem and "restarted" in problem for problem in summary["problems"])
    assert len(summary["problems"]) == len(models + owners), summary["problems"]
    require_equal(found, in_memory(tmp_path / "memory", recording, QUICK))


@all_level
def test_services_killed_again_and_again_change_no_decision(tmp_path: Path) -> None:
    """A day of klines during which each service but ingestion is killed twice, one at a time, gives the ledger of a run without kills."""
    recording = cut_klines(tmp_path / "recording", 1440)
    victims = tuple(name for name in SERVICES if name != "ingestion-service") * 2
    kills = [(300 * number, (service,)) for number, service in enumerate(victims)]
    result, summary, found = play_and_kill(tmp_path / "killed", recording, kills)
    assert result.status == 1, result
    assert sum(service["restarts"] for service in summary["services"].values()) == len(victims)
    require_equal(found, in_memory(tmp_path / "memory", recording, QUICK))


# --- the summary -----------------------------------------------------------------------------------------------------


@all_level
def test_the_default_run_trades_within_its_time(tmp_path: Path) -> None:
    """Without any option the demo closes a round trip, has no problem, and its work fits into 90 seconds of two cores."""
    used_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Demo(tmp_path, ["--summary", "summary.json"], {}) as demo:
        result = demo.result(timeout_s=600)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.status == 0, result
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["problems"] == []
    assert summary["round_trips"] >= 1
    # Processor time, since other tests run beside this one.
    assert used.ru_utime + used.ru_stime - used_before.ru_utime - used_before.ru_stime < 2 * 90


@all_level
def test_default_settings_that_take_no_trade_are_followed_by_the_demo_profile(tmp_path: Path) -> None:
    """The second run is labelled, trades, and the first one's blocking gate is told beside it."""
    played = play(tmp_path, cut_klines(tmp_path / "recording", BARS), {**QUICK, "COST_MARGIN": "1000"})
    assert played.result.status == 0, played.result
    assert "DEMO PROFILE" in played.summary["profile"]
    assert played.summary["round_trips"] >= 1
    assert "default     no trade: entries were blocked" in played.result.output
    assert "cost" in played.result.output.rpartition("default     ")[2]
