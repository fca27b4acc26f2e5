"""The simulator's port, met by real clients."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from services.exchange_simulator import playback, store
from services.exchange_simulator.edge import main
from services.exchange_simulator.first_start import FirstStart, Loop
from services.exchange_simulator.rounds import rounds_of
from services.exchange_simulator.store import Wanted, open_recording
from tests.unit.exchange_simulator.builders import T0_NS, book, serve, tick_file, trade

ROOT = Path(__file__).parents[3]
BOOK = "btcusdt@bookTicker"
TRADE = "btcusdt@trade"


@pytest.fixture(autouse=True)
def _short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "JOIN_GRACE_S", 0.05)
    monkeypatch.setattr(playback, "IDLE_GRACE_S", 0.05)


def client(port: int, path: str, **options: Any) -> ClientConnection:
    connection: ClientConnection = connect(f"ws://127.0.0.1:{port}{path}", proxy=None, compression=None, max_size=None, close_timeout=0.5, **options)
    return connection


def read(connection: ClientConnection) -> tuple[list[bytes], int, str]:
    """All frames to the end, the closing code and its reason."""
    frames: list[bytes] = []

    def read_on() -> None:
        while True:
            frames.append(connection.recv(timeout=20, decode=False))

    with pytest.raises(ConnectionClosed) as caught:
        read_on()
    closed = caught.value.rcvd
    assert closed is not None
    return frames, closed.code, closed.reason


def ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def payload_text(line: str) -> str:
    return line.partition(" ")[2]


def test_combined_frames_are_the_recorded_bytes(tmp_path: Path) -> None:
    """A combined stream carries the recorded text unchanged, and the recording ends with code 4000 after its last frame."""
    lines = [book(number) for number in range(1000)]
    with serve(tick_file(tmp_path, lines)) as (_, port), client(port, f"/public/stream?streams={BOOK}") as connection:
        frames, code, reason = read(connection)
    assert frames == [payload_text(line).encode() for line in lines]
    assert (code, reason) == (4000, "end of recording")


@pytest.mark.parametrize("path", [f"/public/ws/{BOOK}", f"/public/ws/{BOOK}/ethusdt@bookTicker", f"/ws/{BOOK}"])
def test_raw_frames_are_the_payload(tmp_path: Path, path: str) -> None:
    """A raw stream carries what stands in `data`, routed or not, with one name or several."""
    lines = [book(number) for number in range(10)]
    with serve(tick_file(tmp_path, lines)) as (_, port), client(port, path) as connection:
        frames, _, _ = read(connection)
    assert [json.loads(frame) for frame in frames] == [json.loads(payload_text(line))["data"] for line in lines]


def test_a_wrong_root_stays_silent(tmp_path: Path) -> None:
    """Books asked for on /market, trades on /public and unknown names are acknowledged, and no frame of them ever comes."""
    path = tick_file(tmp_path, [line for number in range(20) for line in (book(number), trade(number))])
    with serve(path) as (_, port), client(port, f"/market/stream?streams={BOOK}") as wrong, client(port, "/public/stream") as public:
        public.send(json.dumps({"method": "SUBSCRIBE", "params": [TRADE, "nonsense", BOOK], "id": 5}))
        assert json.loads(public.recv(timeout=5)) == {"result": None, "id": 5}
        frames, code, _ = read(public)
        silent, wrong_code, _ = read(wrong)
    assert {json.loads(frame)["stream"] for frame in frames} == {BOOK}
    assert len(frames) == 20
    assert (silent, code, wrong_code) == ([], 4000, 4000)


def test_clients_can_be_disconnected_and_come_back(tmp_path: Path) -> None:
    """On request every connection breaks without a closing frame; who connects again hears the rest of the recording, and nothing twice."""
    lines = [book(number) for number in range(3000)]
    with serve(tick_file(tmp_path, lines)) as (simulator, port):
        with client(port, f"/public/stream?streams={BOOK}") as connection:
            first = connection.recv(timeout=5, decode=False)
            assert ask(port, "/simulator/disconnect", "POST")[0] == 200
            with pytest.raises(ConnectionClosed) as caught:
                list(connection)
            assert caught.value.rcvd is None
        until(lambda: simulator.status()["connections"] == 0)
        with client(port, f"/public/stream?streams={BOOK}") as connection:
            rest, code, _ = read(connection)
    sent = [payload_text(line).encode() for line in lines]
    assert first == sent[0]
    assert 0 < len(rest) < len(sent)
    assert rest == sent[-len(rest) :]
    assert code == 4000


def test_both_sockets_play_the_same_timeline(tmp_path: Path) -> None:
    """/public gets the books, /market the trades, and /market ends as soon as the recording has no more of them."""
    lines = [line for number in range(300) for line in (book(number), trade(number))] + [book(number) for number in range(300, 2000)]
    with (
        serve(tick_file(tmp_path, lines), autostart=False) as (simulator, port),
        client(port, f"/market/stream?streams={TRADE}/btcusdt@aggTrade") as market,
        client(port, f"/public/stream?streams={BOOK}") as public,
    ):
        assert ask(port, "/simulator/start", "POST")[0] == 200
        trades, code, _ = read(market)
        assert simulator.status()["state"] == "playing"
        books, _, _ = read(public)
    assert (len(trades), len(books), code) == (300, 2000, 4000)


def test_a_market_socket_without_anything_to_hear_is_ended(tmp_path: Path) -> None:
    """The recording has passed the end of streams that it does not have, before it even plays."""
    with serve(tick_file(tmp_path, [book(0)])) as (simulator, port), client(port, "/market/stream?streams=btcusdt@aggTrade") as market:
        assert read(market)[1] == 4000
        assert simulator.status()["state"] == "waiting"


def test_spot_has_one_root(tmp_path: Path) -> None:
    """Spot serves all streams on one connection and knows no routed address."""
    lines = [book(number, spot=True) for number in range(5)]
    with serve(tick_file(tmp_path, lines)) as (_, port):
        with pytest.raises(InvalidStatus):
            client(port, f"/public/stream?streams={BOOK}")
        with client(port, f"/stream?streams={BOOK}/{TRADE}") as connection:
            assert len(read(connection)[0]) == 5


def test_a_reader_that_pauses_pauses_playback(tmp_path: Path) -> None:
    """While the client does not read, the position stands still a bounded way ahead of it; then every frame arrives."""
    count = 12_000
    path = tick_file(tmp_path, [book(number) for number in range(count)], "btcusdt.dat")
    with serve(path) as (simulator, port), client(port, f"/public/stream?streams={BOOK}", max_queue=4) as connection:
        connection.recv(timeout=10)
        positions = [0]

        def stands_still() -> bool:
            positions.append(simulator.player.frames_sent)
            time.sleep(0.1)
            return positions[-1] == positions[-2]

        until(stands_still)
        assert positions[-1] < count // 2
        assert max(len(listener.outbox) for listener in simulator.player._listeners) <= playback.OUTBOX_FRAMES
        frames, code, _ = read(connection)
    assert (len(frames), code) == (count - 1, 4000)


def test_a_client_that_reconnects_goes_on_at_the_current_position(tmp_path: Path) -> None:
    """Playback at full speed waits for a subscriber and never starts again: what comes then is later than what came before."""
    path = tick_file(tmp_path, [book(number) for number in range(8_000)], "btcusdt.dat")
    with serve(path) as (simulator, port):
        with client(port, f"/public/stream?streams={BOOK}", max_queue=4) as first:
            seen = [json.loads(first.recv(timeout=5))["data"]["u"] for _ in range(100)]
        until(lambda: not simulator.player._listeners)
        position = simulator.player.frames_sent
        with client(port, f"/public/stream?streams={BOOK}") as second:
            frames, _, _ = read(second)
    again = [json.loads(frame)["data"]["u"] for frame in frames]
    assert again[0] == position + 1 > seen[-1]
    assert again[-1] == 8_000
    assert again == list(range(again[0], 8_001))


def test_overlapping_connections_both_receive(tmp_path: Path) -> None:
    """A replacement that is opened before the old connection closes misses nothing."""
    path = tick_file(tmp_path, [book(number) for number in range(200)])
    with (
        serve(path, autostart=False) as (_, port),
        client(port, f"/public/stream?streams={BOOK}") as old,
        client(port, f"/public/stream?streams={BOOK}") as new,
    ):
        ask(port, "/simulator/start", "POST")
        assert read(old) == read(new)


def test_after_the_end_a_new_client_is_told_so(tmp_path: Path) -> None:
    """Who comes after the end, or whose recording is stopped, gets 4000 instead of waiting for ever."""
    with serve(tick_file(tmp_path, [book(number) for number in range(10)]), autostart=False) as (simulator, port):
        assert ask(port, "/simulator/stop", "POST")[0] == 200
        until(lambda: simulator.status()["state"] == "ended")
        with client(port, f"/public/stream?streams={BOOK}") as late:
            assert read(late) == ([], 4000, "end of recording")


def test_real_time_is_kept(tmp_path: Path) -> None:
    """At twenty times real time, four seconds of recording take a fifth of a second, and not less."""
    path = tick_file(tmp_path, [book(number) for number in range(401)])
    with serve(path, speed=20.0, autostart=False) as (_, port), client(port, f"/public/stream?streams={BOOK}") as connection:
        begin = time.monotonic()
        ask(port, "/simulator/start", "POST")
        frames, _, _ = read(connection)
        taken = time.monotonic() - begin
    assert len(frames) == 401
    assert taken >= 0.199


def test_the_status_tells_where_playback_stands(tmp_path: Path) -> None:
    """Recording, market, symbols, progress and state are there before, and exact after the end."""
    path = tick_file(tmp_path, [book(number) for number in range(10)] + ["cut off line"])
    with serve(path) as (_, port):
        before = ask(port, "/simulator/status")[1]
        assert (before["state"], before["frames_sent"], before["frames_total"], before["skipped"]) == ("waiting", 0, 10, 1)
        assert (before["market"], before["symbols"], before["recording"]) == ("futures", ["BTCUSDT"], str(path))
        with client(port, f"/public/stream?streams={BOOK}") as connection:
            read(connection)
        after = ask(port, "/simulator/status")[1]
    assert (after["state"], after["frames_sent"], after["problem"]) == ("ended", 10, "")
    assert after["position_ns"] == after["last_event_time_ns"] == T0_NS + 95_000_000


def test_a_recording_that_turns_out_damaged_ends_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readable frames are served, then the connection closes with 1011 and status and health say why."""
    path = tick_file(tmp_path, [book(number) for number in range(5000)])
    path.write_bytes(path.read_bytes()[:-2000])
    monkeypatch.setattr(store, "SURVEY_BYTES", 1000)
    with serve(path) as (_, port):
        with client(port, f"/public/stream?streams={BOOK}") as connection:
            frames, code, reason = read(connection)
        status = ask(port, "/simulator/status")[1]
        health = ask(port, "/health")[0]
    assert len(frames) > 3000
    assert code == 1011
    assert reason.startswith("RECORDING=")
    assert status["state"] == "failed"
    assert "is cut off after line" in status["problem"]
    assert health == 503


def test_rest_answers_in_the_exchanges_shape(tmp_path: Path) -> None:
    """time, ping and exchangeInfo on the market's own address; unknown addresses are 404, unknown symbols -1121."""
    with serve(tick_file(tmp_path, [book(0), book(1, "ETHUSDT")])) as (_, port):
        assert ask(port, "/fapi/v1/ping") == ask(port, "/api/v3/ping") == (200, {})
        assert abs(ask(port, "/fapi/v1/time")[1]["serverTime"] - time.time() * 1000) < 5000
        info = ask(port, "/fapi/v1/exchangeInfo")[1]
        assert ask(port, "/api/v3/exchangeInfo")[0] == ask(port, "/nothing")[0] == 404
        assert ask(port, "/health/live")[0] == ask(port, "/health/ready")[0] == 200
    assert [entry["symbol"] for entry in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    spot = tick_file(tmp_path, [book(0, spot=True), book(1, "ETHUSDT", spot=True)], "spot.gz")
    with serve(spot) as (_, port):
        assert [entry["symbol"] for entry in ask(port, "/api/v3/exchangeInfo?symbol=ETHUSDT")[1]["symbols"]] == ["ETHUSDT"]
        assert len(ask(port, '/api/v3/exchangeInfo?symbols=%5B"ETHUSDT","BTCUSDT"%5D')[1]["symbols"]) == 2
        for bad in ("symbol=X", "symbols=X", 'symbols=%5B"X"%5D'):
            status, body = ask(port, f"/api/v3/exchangeInfo?{bad}")
            assert (status, json.loads(body)["code"]) == (400, -1121)


def test_klines_end_to_end() -> None:
    """The shipped klines arrive minute by minute, all symbols of one before the next."""
    wanted = Wanted(symbols=("BTCUSDT", "ETHUSDT"), duration_s=600)
    path = f"/public/stream?streams=ethusdt@bookTicker/{BOOK}"
    with serve(ROOT / "data/klines/usdm-20250510", wanted=wanted) as (_, port), client(port, path) as connection:
        frames, code, _ = read(connection)
    data = [json.loads(frame)["data"] for frame in frames]
    assert [(one["E"], one["s"]) for one in data] == [
        (1_746_835_200_000 + minute * 60_000 + 59_999, symbol) for minute in range(10) for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert code == 4000


# --- as a process ----------------------------------------------------------------------------------------------------


def test_it_starts_listens_and_stops_on_sigterm() -> None:
    """On port 0 it logs the port that it got, plays there, and SIGTERM ends it with status 0 within two seconds, even if a client does not read."""
    environment = os.environ | {"SIMULATOR_PORT": "0", "RECORDING": "data/ticks/spot-20240808", "SIMULATOR_SPEED": "max"}
    with subprocess.Popen([sys.executable, "-m", "services.exchange_simulator"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert (line["event"], line["service"], line["market"]) == ("listening", "exchange-simulator", "spot")
        with client(line["port"], f"/stream?streams={BOOK}", max_queue=1) as connection:
            connection.recv(timeout=5)
            process.send_signal(signal.SIGTERM)
            begin = time.monotonic()
            assert process.wait(10) == 0
        assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SIMULATOR_SPEED": "0", "DURATION": "-1", "SIMULATOR_PORT": "99999"}, ["SIMULATOR_SPEED='0'", "DURATION='-1'", "SIMULATOR_PORT='99999'"]),
        ({"SYMBOLS": "btc"}, ["SYMBOLS: 'btc' is not a symbol"]),
        ({"RECORDING": "nowhere"}, ["RECORDING=nowhere: does not exist; name a file or a folder of files"]),
        ({"RECORDING": "{shipped}", "SYMBOLS": "SOLUSDT"}, ["SYMBOLS: SOLUSDT is not in RECORDING="]),
        ({"RECORDING": "{shipped}", "SIMULATOR_PORT": "{taken}"}, ["SIMULATOR_PORT={taken}: cannot listen on 127.0.0.1:{taken}"]),
        ({"RECORDING": "{shipped}", "HTTP_HOST": "192.0.2.1"}, ["cannot listen on 192.0.2.1"]),
    ],
)
def test_wrong_settings_are_a_line_each_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str], words: list[str]
) -> None:
    """All settings that are wrong are listed at once; a recording, symbol or port that cannot be used is one line with the fix."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"{shipped}": str(ROOT / "data/ticks/spot-20240808"), "{taken}": str(taken.getsockname()[1])}
        for name, value in environment.items():
            monkeypatch.setenv(name, values.get(value, value))
        assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    expected = [word.replace("{taken}", values["{taken}"]) for word in words]
    assert len(lines) == len(expected)
    assert all(any(word in line for line in lines) for word in expected)


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists every setting and succeeds; any other argument is refused with status 2."""
    assert main(["--help"]) == 0
    assert {"RECORDING", "SIMULATOR_SPEED", "ASSUMED_SPREAD_BPS"} <= set(capsys.readouterr().out.split())
    assert main(["--fast"]) == 2
    assert capsys.readouterr().err == "exchange-simulator: takes no arguments; --help lists its settings\n"


def test_a_loop_tells_its_clients_where_they_are(tmp_path: Path) -> None:
    """Each round comes whole on a connection of its own, which is told its begin; the status names round, shift and first start."""
    path = tick_file(tmp_path, [book(number) for number in range(300)])
    rounds = rounds_of(open_recording(path), 1_000_000_000)
    fresh = FirstStart(started_at_ns=0, recording=str(path), first_event_time_ns=0, period_ns=rounds.period_ns, speed=0.0)
    began_ns = time.time_ns()
    with serve(path, loop=Loop(rounds, fresh)) as (_, port):
        for number in range(3):
            with client(port, f"/public/stream?streams={BOOK}") as connection:
                assert connection.response
                assert connection.response.headers["X-Session-Begins-Ns"] == str(rounds.begins_ns(number))
                frames, code, reason = read(connection)
            times_ms = [json.loads(frame)["data"]["E"] for frame in frames]
            assert (len(frames), times_ms[0], code, reason) == (300, T0_NS // 10**6 + 5 + rounds.shift_ns(number) // 10**6, 4001, "end of round")
        _, status = ask(port, "/simulator/status")
        assert (status["loop"], status["round"], status["shift_ns"], status["frames_sent"]) == (True, 4, 3 * rounds.period_ns, 900)
        assert status["first_event_time_ns"] == status["position_ns"] == T0_NS + 5_000_000 + 3 * rounds.period_ns
        assert began_ns <= status["first_start_ns"] <= time.time_ns()


def test_a_loop_that_was_killed_goes_on_where_it_would_be(tmp_path: Path) -> None:
    """A process with a state folder keeps its first start; after `kill -9` the next one stands as far on as time has passed, and says so."""
    path = tick_file(tmp_path, [book(100 * number) for number in range(10)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loop = {"SIMULATOR_LOOP": "true", "SIMULATOR_STATE_DIR": str(tmp_path / "state"), "SIMULATOR_SPEED": "100", "BAR_INTERVAL_SECONDS": "1"}
    environment = {**os.environ, "RECORDING": str(path), "SIMULATOR_PORT": str(port), **loop}

    def seen() -> dict[str, Any]:
        with contextlib.suppress(OSError):
            return dict(ask(port, "/simulator/status")[1])
        return {}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "services.exchange_simulator"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    first = start()
    try:
        until(lambda: bool(seen()))
        ask(port, "/simulator/start", "POST")
        until(lambda: seen().get("round", 0) > 3)
        before = seen()
    finally:
        first.kill()
        first.wait(10)
    spawned_ns, second = time.time_ns(), start()
    try:
        until(lambda: seen().get("state") == "playing")
        after = seen()
        now_ns = time.time_ns()
        assert after["first_start_ns"] == before["first_start_ns"]
        assert after["round"] > before["round"]
        place_ns = after["position_ns"] - after["first_event_time_ns"] + after["shift_ns"]
        since_start = [(at_ns - after["first_start_ns"]) * 100 for at_ns in (spawned_ns, now_ns)]
        # Within a round's length, for there may be no frame at the very place; after the last frame of a round the begin of the next is shown.
        gap_ns = after["shift_ns"] // (after["round"] - 1) - (after["last_event_time_ns"] - after["first_event_time_ns"])
        assert gap_ns == 2_000_000_000
        assert since_start[0] - 12_000_000_000 < place_ns < since_start[1] + gap_ns
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0
