"""The replay command as a user runs it, on a session that a real Kafka holds."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from common.codec import encode
from common.io.kafka import KafkaTransport
from common.messages import HedgeRatioClose
from common.settings import Market
from common.topics import ALL_TOPICS, COMMANDS, EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS
from scripts.embedded.options import ROOT
from scripts.offline import Offline, public_frames
from services.execution.ledger import LEDGER_FILE
from tests.replay.schedules import KLINES, klines

PAIRS = ("ETHUSDT-BTCUSDT", "LTCUSDT-BTCUSDT")


class Held(NamedTuple):
    """A session in Kafka."""

    transport: KafkaTransport
    prefix: str
    arguments: list[str]
    offline: Offline


@pytest.fixture
def held(kafka_bootstrap_servers: str, tmp_path: Path) -> Iterator[Held]:
    """What the services say of an hour, as a broker would hold it."""
    prefix = f"replay-{time.time_ns()}-"
    transport = KafkaTransport(kafka_bootstrap_servers, topic_prefix=prefix)
    transport.ensure_topics(ALL_TOPICS, 6)
    scenario = klines(PAIRS, 60)
    frames = public_frames(scenario.frames, Market.FUTURES)
    offline = Offline(scenario.settings, frames, scenario.rules, tmp_path, partitions=6, place=lambda pair: transport.partition_of(TICKS, pair))
    offline.run()
    offline.stop()
    producer = transport.producer()
    for topic in (TICKS, HEDGE_RATIOS, VOLATILITY_THRESHOLDS, RISK_SIGNALS, EXECUTIONS, COMMANDS):
        for record in offline.broker.records(topic):
            producer.send(topic, record.key, record.value, partition=record.partition)
    producer.flush()
    env = tmp_path / "session.env"
    env.write_text("".join(f"{name}={value}\n" for name, value in {**scenario.settings, "TOPIC_PREFIX": prefix}.items()), encoding="utf-8")
    arguments = ["--bootstrap", kafka_bootstrap_servers, "--env", str(env), "--ledger", str(tmp_path / LEDGER_FILE), "--recording", str(KLINES)]
    yield Held(transport, prefix, arguments, offline)
    transport.delete_topics(ALL_TOPICS)
    transport.close()


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "scripts/replay.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_a_session_in_kafka_replays_and_a_forged_one_does_not(held: Held) -> None:
    """Status 0 and the verdict for what the services said; status 1 and the field after one answer more that contradicts the first."""
    equal = run(held.arguments)
    assert (equal.returncode, equal.stderr) == (0, "")
    assert "replay: equal, " in equal.stdout.splitlines()[-1]
    assert "ledger fills" in equal.stdout
    answer = next(message for message in held.offline.messages(HEDGE_RATIOS) if isinstance(message, HedgeRatioClose))
    producer = held.transport.producer()
    producer.send(HEDGE_RATIOS, answer.close.pair, encode(HedgeRatioClose(close=answer.close, status=answer.status, reason="forged")))
    producer.flush()
    forged = run(held.arguments)
    assert forged.returncode == 1, forged
    assert "'forged'" in forged.stdout
    assert forged.stdout.splitlines()[-1].startswith("replay: DIFFERENT")


def test_a_prefix_without_a_session_is_refused(held: Held) -> None:
    """One line that says so, and status 2."""
    nothing = run([*held.arguments, "--prefix", f"{held.prefix}nothing-"])
    assert nothing.returncode == 2
    assert len(nothing.stderr.splitlines()) == 1
    assert "does not exist" in nothing.stderr
