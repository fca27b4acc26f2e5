"""Real processes on real recordings: what they decide, what survives a kill, how they end, and how they refuse."""

import gzip
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.embedded.monitor import ask
from scripts.embedded.plan import SERVICES
from tests.system.demo import QUICK, QUICK_TICKS, Demo, Result, Rows, add_nonsense, csv_klines, cut_klines, cut_ticks, in_memory, ledger, marks_so_far

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
TRACEBACK = "Traceback (most recent call last)"
#: From Ctrl-C to the end of everything, seconds.
STOPPED_WITHIN_S = 15.0
BARS = 300

#: The keys of the summary file, as users were promised them.
SUMMARY_KEYS = {
    "recording",
    "profile",
    "frames",
    "ticks",
    "bars",
    "bars_without_signal",
    "bars_by_model",
    "fits_accepted",
    "changepoint_actions",
    "decisions",
    "round_trips",
    "orders",
    "fills",
    "rejected",
    "dead_letters",
    "conflated",
    "ignored",
    "gross_pnl_usd",
    "fees_usd",
    "funding_usd",
    "net_pnl_usd",
    "open_positions",
    "tick_to_decision_ms",
    "services",
    "problems",
}

all_level = pytest.mark.skipif(os.environ.get("TEST_LEVEL") != "all", reason="takes its time: set TEST_LEVEL=all")


class Played(NamedTuple):
    """An undisturbed run and all that it left."""

    recording: Path
    result: Result
    summary: dict[str, Any]
    ledger: dict[str, Rows]
    left_running: list[int]


def play(folder: Path, recording: Path, settings: dict[str, str], *arguments: str) -> Played:
    """A run to its end."""
    with Demo(folder, ["--recording", str(recording), "--summary", "summary.json", *arguments], settings) as demo:
        result = demo.result()
        assert TRACEBACK not in result.output + result.errors
        summary = folder / "summary.json"
        assert summary.exists(), result
        return Played(recording, result, json.loads(summary.read_text(encoding="utf-8")), ledger(demo.ledger), demo.running())


@pytest.fixture(scope="module")
def klines(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Three symbols' minutes, played at full speed and left alone."""
    folder = tmp_path_factory.mktemp("klines")
    return play(folder, cut_klines(folder / "recording", BARS), QUICK)


def require_equal(found: dict[str, Rows], expected: dict[str, Rows]) -> None:
    """Field by field, and of something: a recording without decisions would prove nothing."""
    assert all(expected[table] for table in ("decisions", "orders", "fills", "round_trips", "marks"))
    for table, rows in expected.items():
        assert found[table] == rows, table


def require_balance(summary: dict[str, Any]) -> None:
    """Every frame is accounted for, every dollar too."""
    assert summary["frames"] > 0
    assert summary["frames"] == summary["ticks"] + summary["conflated"] + summary["dead_letters"] + summary["ignored"]
    parts = sum(summary[name] for name in ("gross_pnl_usd", "fees_usd", "funding_usd"))
    assert summary["net_pnl_usd"] == pytest.approx(parts, abs=1e-6)


# --- the same everywhere ---------------------------------------------------------------------------------------------


class ShortTicks(NamedTuple):
    """A minute of ticks, every fourth frame of it, and what the services decide on it in memory."""

    recording: Path
    ledger: dict[str, Rows]


@pytest.fixture(scope="module")
def short_ticks(tmp_path_factory: pytest.TempPathFactory) -> ShortTicks:
    """Made once."""
    folder = tmp_path_factory.mktemp("ticks")
    recording = cut_ticks(folder / "recording", 60, every=4)
    return ShortTicks(recording, in_memory(folder / "memory", recording, QUICK_TICKS))


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


def test_klines_decide_what_memory_decides(klines: Played, tmp_path: Path) -> None:
    """Two pairs of one-minute klines at full speed give the ledger of the run in memory."""
    require_equal(klines.ledger, in_memory(tmp_path / "memory", klines.recording, QUICK))


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


def play_and_kill(folder: Path, played: Played, kills: Sequence[tuple[float, Sequence[str]]]) -> tuple[Result, dict[str, Any], dict[str, Rows]]:
    """A run during which services are killed, each time when a share of all bars is marked."""
    all_marks = len(played.ledger["marks"])
    with Demo(folder, ["--recording", str(played.recording), "--summary", "summary.json"], QUICK) as demo:
        for share, victims in kills:
            wanted = int(share * all_marks)
            demo.wait_until(partial(has_marked_more_than, demo, wanted), f"{wanted} marks")
            for service in victims:
                demo.kill(service)
        result = demo.result()
        assert demo.running() == []
        assert TRACEBACK not in result.output + result.errors
        return result, json.loads((folder / "summary.json").read_text(encoding="utf-8")), ledger(demo.ledger)


def test_killed_services_come_back_and_change_no_decision(klines: Played, tmp_path: Path) -> None:
    """`kill -9` of four services in the middle of a run is restarted, counted and reported, and the ledger is the undisturbed run's."""
    models, owners = ("kalman-filter-service", "garch-volatility-service"), ("risk-manager-service", "execution-service")
    result, summary, found = play_and_kill(tmp_path, klines, ((0.0, models), (0.5, owners)))
    assert result.status == 1, result
    assert {name: summary["services"][name]["restarts"] for name in SERVICES} == {"ingestion-service": 0} | dict.fromkeys(models + owners, 1), result
    for service in models + owners:
        assert any(service in problem and "restarted" in problem for problem in summary["problems"])
    assert len(summary["problems"]) == len(models + owners), summary["problems"]
    require_equal(found, klines.ledger)


@all_level
def test_services_killed_again_and_again_change_no_decision(tmp_path: Path) -> None:
    """A day of klines during which each service but ingestion is killed twice, one at a time, gives the undisturbed run's ledger."""
    undisturbed = play(tmp_path / "undisturbed", cut_klines(tmp_path / "recording", 1440), QUICK)
    victims = tuple(name for name in SERVICES if name != "ingestion-service") * 2
    kills = [(0.1 * number, (service,)) for number, service in enumerate(victims)]
    result, summary, found = play_and_kill(tmp_path / "killed", undisturbed, kills)
    assert result.status == 1, result
    assert sum(service["restarts"] for service in summary["services"].values()) == len(victims)
    require_equal(found, undisturbed.ledger)


@all_level
@pytest.mark.parametrize("victim", ["ingestion-service", "exchange-simulator"])
def test_a_run_whose_feed_is_killed_ends_and_says_so(victim: str, short_ticks: ShortTicks, tmp_path: Path) -> None:
    """What a broken feed loses is lost, but the run comes to an end and names the part that failed."""
    with Demo(tmp_path, ["--recording", str(short_ticks.recording), "--speed", "5", "--summary", "summary.json"], QUICK_TICKS) as demo:
        demo.wait_until(partial(has_marked_more_than, demo, 10), "some bars")
        demo.kill(victim)
        result = demo.result(timeout_s=120)
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors
    assert result.status == 1, result
    assert any(victim in problem for problem in json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["problems"])


# --- the end ---------------------------------------------------------------------------------------------------------


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
def test_a_run_may_be_kept_short_and_kept_up(klines: Played, short_ticks: ShortTicks, tmp_path: Path) -> None:
    """`--duration` ends a run early and well; `--keep-going` keeps the services up after the recording's end, until Ctrl-C."""
    short = play(tmp_path / "short", short_ticks.recording, QUICK_TICKS, "--speed", "1", "--duration", "5")
    assert (short.result.status, short.summary["problems"]) == (0, []), short.result
    assert 0 < short.summary["bars"] < 20
    with Demo(tmp_path / "up", ["--recording", str(klines.recording), "--keep-going"], QUICK) as demo:
        demo.wait_until(lambda: marks_so_far(demo.ledger) == len(klines.ledger["marks"]), "the last bar")
        demo.wait_until(lambda: "recording 100%" in demo.output, "the table of the end")
        assert ask(demo.port("execution-service"), "/health/live")[0] == 200
        demo.process.send_signal(signal.SIGINT)
        assert demo.result().status == 0
        assert demo.running() == []


# --- the summary -----------------------------------------------------------------------------------------------------


def test_an_undisturbed_run_ends_well(klines: Played) -> None:
    """Exit status 0, nothing on stderr, no problem and no process left."""
    assert (klines.result.status, klines.result.errors) == (0, ""), klines.result
    assert klines.summary["problems"] == []
    assert klines.left_running == []


def test_the_summary_holds_what_was_promised(klines: Played) -> None:
    """The file has exactly the stated keys, for every service too, and says the same as the ledger."""
    summary = klines.summary
    assert set(summary) == SUMMARY_KEYS
    assert set(SERVICES) <= set(summary["services"])
    for service in summary["services"].values():
        assert set(service) == {"restarts", "rss_mb", "messages"}
        assert service["messages"] > 0
        assert service["rss_mb"] > 0
    assert set(summary["tick_to_decision_ms"]) == {"p50", "p99", "max"}
    for name, table in (("decisions", "decisions"), ("orders", "orders"), ("fills", "fills"), ("round_trips", "round_trips"), ("bars", "marks")):
        assert summary[name] == len(klines.ledger[table]), name
    assert sum(summary["bars_by_model"].values()) == summary["bars"] == 2 * BARS


def test_the_summary_s_books_balance(klines: Played) -> None:
    """Every frame is accounted for, and net is gross, fees and funding together."""
    require_balance(klines.summary)
    assert klines.summary["fees_usd"] < 0


@all_level
def test_the_default_run_trades_within_its_time(tmp_path: Path) -> None:
    """Without any option the demo closes a round trip, has no problem and takes less than 90 seconds."""
    started_at = time.monotonic()
    with Demo(tmp_path, ["--summary", "summary.json"], {}) as demo:
        result = demo.result(timeout_s=600)
    assert time.monotonic() - started_at < 90
    assert result.status == 0, result
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["problems"] == []
    assert summary["round_trips"] >= 1


@all_level
def test_default_settings_that_take_no_trade_are_followed_by_the_demo_profile(tmp_path: Path) -> None:
    """The second run is labelled, trades, and the first one's blocking gate is told beside it."""
    played = play(tmp_path, cut_klines(tmp_path / "recording", BARS), {**QUICK, "COST_MARGIN": "1000"})
    assert played.result.status == 0, played.result
    assert "DEMO PROFILE" in played.summary["profile"]
    assert played.summary["round_trips"] >= 1
    assert "default     no trade: entries were blocked" in played.result.output
    assert "cost" in played.result.output.rpartition("default     ")[2]


# --- refusals --------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """A way to start a run that cannot work, and words of the line that says so."""

    arguments: Callable[[Path], list[str]]
    says: tuple[str, ...]


def _file(folder: Path, name: str, content: bytes) -> list[str]:
    (folder / name).write_bytes(content)
    return ["--recording", name]


def _cut_off_ticks(folder: Path) -> list[str]:
    recording = cut_ticks(folder / "cut-off", 5)
    file = next(iter(sorted(recording.glob("*.gz"))))
    file.write_bytes(file.read_bytes()[:-2000])
    return ["--recording", "cut-off"]


def _cut_off_klines(folder: Path) -> list[str]:
    recording = cut_klines(folder / "cut-off", 30)
    file = next(iter(sorted(recording.glob("*.feather"))))
    file.write_bytes(file.read_bytes()[:-1000])
    return ["--recording", "cut-off"]


def _pictures(folder: Path) -> list[str]:
    """Foreign files beside good ones."""
    cut_klines(folder / "mixed", 30)
    (folder / "mixed" / "picture.feather").write_bytes(PNG)
    return ["--recording", "mixed"]


def _empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--recording", "empty"]


REFUSALS = {
    "missing recording": Refusal(lambda _: ["--recording", "nowhere"], ("nowhere", "does not exist")),
    "empty file": Refusal(lambda folder: _file(folder, "empty.gz", b""), ("empty.gz", "is empty")),
    "empty gzip": Refusal(lambda folder: _file(folder, "nothing.gz", gzip.compress(b"")), ("nothing.gz", "is empty")),
    "empty folder": Refusal(_empty_folder, ("empty", "holds no recording")),
    "truncated ticks": Refusal(_cut_off_ticks, ("cut-off", "is cut off", "fetch it again")),
    "truncated klines": Refusal(_cut_off_klines, ("cut-off", "cut off")),
    "foreign file": Refusal(lambda folder: _file(folder, "BTCUSDT_1m.feather", PNG), ("BTCUSDT_1m.feather", "is no recording")),
    "foreign file among others": Refusal(_pictures, ("picture.feather", "is no recording")),
    "unknown symbol": Refusal(lambda _: ["--pairs", "PEPEUSDT-BTCUSDT"], ("PEPEUSDT", "is not in")),
    "kind that is not there": Refusal(lambda folder: ["--data", "ticks", "--recording", str(cut_klines(folder / "k", 5))], ("--data ticks", "klines")),
    "market that is not there": Refusal(lambda folder: ["--market", "spot", "--recording", str(cut_ticks(folder / "t", 2))], ("spot", "futures")),
    "wrong speed": Refusal(lambda _: ["--speed", "fast"], ("--speed", "fast")),
    "no pair": Refusal(lambda _: ["--pairs", "ETHUSDT"], ("--pairs", "ETHUSDT")),
    "unknown option": Refusal(lambda _: ["--frobnicate"], ("--frobnicate",)),
    "summary nowhere": Refusal(lambda _: ["--summary", "no/such/folder.json"], ("--summary", "no folder")),
}


def require_refusal(demo: Demo, *words: str, status: int = 2, timeout_s: float = 120) -> None:
    """One line that says what is wrong, a status that says so too, no traceback, nothing left."""
    result = demo.result(timeout_s)
    assert TRACEBACK not in result.output + result.errors, result.errors
    said = [line for line in (result.output + result.errors).splitlines() if all(word in line for word in words)]
    assert len(said) == 1, result
    assert result.status == status, result
    assert demo.running() == []


#: One of each kind; the others need TEST_LEVEL=all.
ALWAYS = {"missing recording", "truncated ticks", "foreign file", "unknown symbol", "unknown option"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in ALWAYS else all_level) for name in REFUSALS])
def test_what_cannot_be_played_is_refused(name: str, tmp_path: Path) -> None:
    """Wrong usage and unusable recordings end at once with one clear line, status 2 and no process started."""
    refusal = REFUSALS[name]
    arguments = refusal.arguments(tmp_path)
    with Demo(tmp_path, arguments, {}) as demo:
        require_refusal(demo, *refusal.says)
        assert not demo.data.exists(), "it began before it had checked"


@pytest.fixture
def busy() -> Iterator[int]:
    """A base port at which another program has the execution-service's port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1]) - SERVICES["execution-service"][1]


def test_a_port_in_use_is_refused(busy: int, klines: Played, tmp_path: Path) -> None:
    """A port that another program listens on is named, and nothing is started."""
    with Demo(tmp_path, ["--recording", str(klines.recording)], {}, base_port=busy) as demo:
        require_refusal(demo, str(busy + 3), "in use", "--base-port")
        assert not (demo.data / "logs").exists()


def test_a_data_folder_that_cannot_be_written_is_refused(klines: Played, tmp_path: Path) -> None:
    """A file where the run's folder should be is said in one line."""
    (tmp_path / "taken").write_bytes(b"")
    with Demo(tmp_path, ["--recording", str(klines.recording)], {"DEMO_FOLDER": str(tmp_path / "taken" / "demo")}) as demo:
        require_refusal(demo, "taken", "cannot be written")


@all_level
def test_a_wrong_setting_of_a_service_is_told_in_one_line(klines: Played, tmp_path: Path) -> None:
    """A setting that a service refuses ends the run: the variable, its value and the rule are on the screen."""
    with Demo(tmp_path, ["--recording", str(klines.recording)], {"KALMAN_WARM_UP_BARS": "5"}) as demo:
        result = demo.result()
        assert TRACEBACK not in result.output + result.errors
        assert result.status != 0
        said = [line for line in (result.output + result.errors).splitlines() if "KALMAN_WARM_UP_BARS='5'" in line]
        assert len(said) == 1, result
        assert demo.running() == []


@all_level
def test_a_kafka_that_is_not_there_is_told_in_one_line(klines: Played, tmp_path: Path) -> None:
    """An unreachable Kafka is named after a bounded wait, and nothing is left."""
    with Demo(tmp_path, ["--recording", str(klines.recording)], {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}) as demo:
        require_refusal(demo, "127.0.0.1:1", "Kafka", status=1)


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
