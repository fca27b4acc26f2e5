"""Dead letters listed, shown and replayed, on brokers."""

import base64
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.codec import encode
from common.dead_letters import MAX_KEY_CHARACTERS, MAX_PAYLOAD_BYTES, dead_letter
from common.errors import InvalidRecord
from common.io.kafka import KafkaTransport
from common.io.mock_broker import FETCH_WAIT_MAX_MS
from common.messages import DeadLetter
from common.processor import Position, Record
from common.topics import COMMANDS, DEAD_LETTERS, EXECUTIONS, HEDGE_RATIOS, KALMAN_STATE, RISK_SIGNALS, TICKS, Retention, Topic
from scripts.dead_letters import main
from scripts.letters.entries import Entry, parse_since, refusal

PAYLOAD = b'{"type":"hedge-ratio"}'


class Broker:
    """Topics under a prefix of the test's own."""

    def __init__(self, bootstrap_servers: str, fetch_wait_max_ms: int) -> None:
        self.prefix = f"letters-{uuid.uuid4().hex[:8]}-"
        self.transport = KafkaTransport(bootstrap_servers, fetch_wait_max_ms=fetch_wait_max_ms, topic_prefix=self.prefix)
        self.environment = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "TOPIC_PREFIX": self.prefix, "KAFKA_FETCH_WAIT_MAX_MS": str(fetch_wait_max_ms)}

    def add(self, *letters: DeadLetter | bytes) -> None:
        producer = self.transport.producer()
        for letter in letters:
            producer.send(DEAD_LETTERS, "x", letter if isinstance(letter, bytes) else encode(letter), partition=0)
        producer.flush()

    def run(self, *arguments: str) -> int:
        return main(arguments, self.environment)

    def records(self, topic: Topic) -> list[Record]:
        partitions = range(self.transport.partitions(topic))
        reader = self.transport.reader([Position(topic, partition, 0) for partition in partitions])
        found: list[Record] = []
        while reader.lag():
            found += reader.poll(1.0)
        return found


def letter(source: Topic = HEDGE_RATIOS, offset: int = 5, value: bytes = PAYLOAD, *, service: str = "execution-service", key: str = "A-B") -> DeadLetter:
    return dead_letter(service, Record(source, 1, offset, key, value), InvalidRecord("undecodable", "no tick"))


@pytest.fixture(params=["mock", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    topics = (HEDGE_RATIOS, DEAD_LETTERS)
    if request.param == "mock":
        mock = request.getfixturevalue("mock_broker")
        made = Broker(mock.bootstrap_servers, FETCH_WAIT_MAX_MS)
        mock.create([Topic(made.prefix + topic.name, "x", Retention.BY_TIME, "a test's own") for topic in topics])
    else:
        made = Broker(request.getfixturevalue("kafka_bootstrap_servers"), 500)
        made.transport.ensure_topics(topics, 2)
    yield made
    if request.param == "kafka":
        made.transport.delete_topics(topics)
    made.transport.close()


def test_list_counts_and_filters(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """All are counted by source and reason, the newest shown; filters choose; what is no dead letter is mentioned."""
    broker.add(letter(offset=1), letter(offset=2, service="garch-volatility-service"), b"junk", letter(TICKS, 3))
    assert broker.run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["place", "time", "(UTC)", "service", "source", "reason", "bytes", "detail"]
    assert [line.split()[0] for line in lines[1:4]] == ["0/0", "0/1", "0/3"]
    assert [line.strip() for line in lines[5:]] == [
        "2  hedge-ratios: undecodable",
        "1  ticks: undecodable",
        "3  dead letters",
        "1  records in the topic that are no dead letters",
    ]
    assert broker.run("list", "--source", "hedge-ratios", "--service", "garch-volatility-service", "--since", "1h", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["count"] == 1
    (only,) = document["dead_letters"]
    assert {name: only[name] for name in ("place", "source", "source_partition", "source_offset", "key", "length", "replayed")} == {
        "place": "0/1",
        "source": "hedge-ratios",
        "source_partition": 1,
        "source_offset": 2,
        "key": "A-B",
        "length": len(PAYLOAD),
        "replayed": False,
    }
    assert broker.run("list", "--limit", "1") == 0
    assert "3  dead letters, the newest 1 shown" in capsys.readouterr().out
    assert broker.run("list", "--reason", "bar-jump", "--since", "2001-01-01") == 0
    assert capsys.readouterr().out.split() == ["0", "dead", "letters", "1", "records", "in", "the", "topic", "that", "are", "no", "dead", "letters"]


def test_show_tells_everything(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Payload, hash, reason and position of one; bytes that are no text as hexadecimal; nothing moves the terminal's cursor."""
    broker.add(letter(value=b"\xff\x00" * 20), letter(value=b"\x1b[2J{}"))
    assert broker.run("show", "0/0") == 0
    shown = capsys.readouterr().out
    assert "source_partition 1\nsource_offset    5\n" in shown
    assert "00000000  ff00ff00 ff00ff00" in shown
    assert letter(value=b"\xff\x00" * 20).sha256 in shown
    assert broker.run("show", "0/1") == 0
    assert capsys.readouterr().out.endswith("payload\n\\x1b[2J{}\n")
    assert broker.run("show", "0/1", "--json") == 0
    assert base64.b64decode(json.loads(capsys.readouterr().out)["payload_base64"]) == b"\x1b[2J{}"
    assert broker.run("show", "0/7") == 1
    assert capsys.readouterr().err == "dead_letters: there is no dead letter at 0/7; see `list`\n"


def test_replay_publishes_once(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --yes nothing happens; with it payload, key and partition are as they were, and a second time it is refused."""
    broker.add(letter(), letter(service="garch-volatility-service"))
    assert broker.run("replay", "--source", "hedge-ratios") == 0
    assert capsys.readouterr().out.splitlines() == [
        "0/0: would be replayed: to hedge-ratios/1",
        "0/1: skipped: the same record as 0/0, set aside by another service",
        "1 would be replayed, 1 skipped; --yes does it",
    ]
    assert broker.records(HEDGE_RATIOS) == []
    assert broker.run("replay", "0/0", "--yes") == 0
    assert [(record.partition, record.key, record.value) for record in broker.records(HEDGE_RATIOS)] == [(1, "A-B", PAYLOAD)]
    capsys.readouterr()
    for place in ("0/0", "0/1"):
        assert broker.run("replay", place, "--yes") == 1
        assert f"{place}: refused: it has been replayed already" in capsys.readouterr().out
    assert len(broker.records(HEDGE_RATIOS)) == 1
    assert broker.run("list", "--json") == 0
    assert [each["replayed"] for each in json.loads(capsys.readouterr().out)["dead_letters"]] == [True, True]


def _frame() -> DeadLetter:
    return DeadLetter(service="i", source="frames", partition=-1, offset=0, reason="r", detail="", payload=b"", length=0, sha256="")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (letter(TICKS), "only ingestion writes ticks"),
        (letter(COMMANDS), "give the command anew"),
        (letter(KALMAN_STATE), "an old state would hide the newer ones"),
        (letter(DEAD_LETTERS), "not read by any service"),
        (_frame(), "it is a frame of stream frames"),
        (letter(value=b"x" * (MAX_PAYLOAD_BYTES + 1)), "only 65536 of its 65537 bytes were kept"),
        (letter(key="k" * 2000), "its key was not kept whole"),
    ],
    ids=["ticks", "commands", "states", "letters", "frame", "truncated", "key"],
)
def test_what_would_harm_is_refused(mock_broker: Any, capsys: pytest.CaptureFixture[str], bad: DeadLetter, why: str) -> None:
    """A replay that would break an order, repeat a command, hide a state or publish half a record is refused with the reason."""
    broker = Broker(mock_broker.bootstrap_servers, FETCH_WAIT_MAX_MS)
    mock_broker.create([Topic(broker.prefix + DEAD_LETTERS.name, "x", Retention.BY_TIME, "a test's own")])
    broker.add(bad)
    assert broker.run("replay", "0/0", "--yes") == 1
    assert why in capsys.readouterr().out
    assert len(broker.records(DEAD_LETTERS)) == 1
    broker.transport.close()


def test_signals_and_executions_may_be_replayed() -> None:
    """Receivers of these drop what they have passed."""
    for source in (HEDGE_RATIOS, RISK_SIGNALS, EXECUTIONS):
        assert not refusal(Entry(0, 0, datetime.now(UTC), letter(source)), ())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show", "17"], "'17' is not PARTITION/OFFSET, such as 0/17"),
        (["list", "--since", "yesterday"], "'yesterday' is neither a time such as 2026-05-01T12:00 (UTC) nor a length such as 30m, 2h or 3d"),
        (["replay", "--yes"], "say which: give places, or a filter such as --source"),
        (["list", "--bootstrap", "nowhere"], "KAFKA_BOOTSTRAP_SERVERS='nowhere'"),
    ],
)
def test_wrong_usage(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with status 2 and a line that says what is wrong, before any broker is asked."""
    assert main(arguments, {}) == 2
    assert problem in capsys.readouterr().err


def test_since_is_a_time_or_a_length() -> None:
    """Lengths count back from now, times without a zone are UTC."""
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert parse_since("90m", now) == now - timedelta(minutes=90)
    assert parse_since("3d", now) == now - timedelta(days=3)
    assert parse_since("2026-05-01T10:00", now) == now - timedelta(hours=2)
    assert parse_since("2026-05-01T12:00+02:00", now) == now - timedelta(hours=2)


def test_keys_are_kept() -> None:
    """A dead letter carries its record's key, cut where nobody needs more."""
    assert letter(key="A-B").key == "A-B"
    assert len(letter(key="k" * 5000).key) == MAX_KEY_CHARACTERS
