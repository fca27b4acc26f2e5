"""Whatever stands on a topic, a service sets it aside or counts it, goes on, and decides as it would have without."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from decimal import InvalidOperation
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec import decoder_of, encode
from common.messages import BarClose, Command, CommandKind, Progress, RiskHeartbeat, Tick, WriterEpoch
from common.topics import (
    ALL_TOPICS,
    COMMANDS,
    DEAD_LETTERS,
    EXECUTIONS,
    HEDGE_RATIO_CLOSES,
    HEDGE_RATIOS,
    PROGRESS,
    RISK_SIGNALS,
    TICKS,
    VOLATILITY_THRESHOLDS,
    Topic,
)
from scripts.offline import EXECUTION, GARCH, INGESTION, KALMAN, NAMES, RISK
from tests.poison.absurd import NONSENSE, absurd
from tests.poison.chamber import BARS, PAIR, PARTITIONS, READS, Poison, clean, good, offline, run, scenario
from tests.replay.schedules import outcomes, plain_run

_INPUTS = [(name, topic) for name, topics in READS.items() for topic in topics]
#: Deterministic, so that a failure is a bug and not luck; more by `--hypothesis-profile` or here.
_SEARCH = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def changed(value: bytes, **changes: Any) -> bytes:
    """A message with other values; `tick__seq` is the seq of its tick."""
    message = json.loads(value)
    for name, new in changes.items():
        *path, last = name.split("__")
        holder = message
        for part in path:
            holder = holder[part]
        holder[last] = new
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", READS)
def test_good_records_are_answered(name: str) -> None:
    """The measure for what follows: good records alone give answers, and nothing is set aside or dropped."""
    assert len(clean(name).answers) >= 60
    assert (clean(name).dead_letters, clean(name).dropped, clean(name).ready) == ((), {}, True)


@pytest.mark.parametrize(("name", "topic"), _INPUTS, ids=[f"{name}-{topic}" for name, topic in _INPUTS])
@_SEARCH
@given(data=st.data())
def test_nonsense_is_set_aside(name: str, topic: Topic, data: st.DataObject) -> None:
    """Bytes that are no message end as dead letters, each with its place and payload, and change no answer."""
    places = st.tuples(NONSENSE, st.integers(0, len(good(topic))), st.sampled_from([PAIR, "", "x"]), st.integers(0, PARTITIONS - 1))
    poison = [Poison(topic, *drawn) for drawn in data.draw(st.lists(places, min_size=1, max_size=8))]
    outcome = run(name, poison)
    assert Counter(letter.payload for letter in outcome.dead_letters) == Counter(each.value for each in poison)
    assert {(letter.reason, letter.source) for letter in outcome.dead_letters} == {("undecodable", topic.name)}
    assert (outcome.answers, outcome.dropped, outcome.ready) == (clean(name).answers, {}, True)


@pytest.mark.parametrize(("name", "topic"), [place for place in _INPUTS if place[1] != COMMANDS], ids=[f"{n}-{t}" for n, t in _INPUTS if t != COMMANDS])
@_SEARCH
@given(data=st.data())
def test_absurd_messages_stop_nothing(name: str, topic: Topic, data: st.DataObject) -> None:
    """A message with absurd values is set aside, dropped and counted, or taken; a refused one changes no answer."""
    number = data.draw(st.integers(0, len(good(topic)) - 1))
    poison = data.draw(absurd(good(topic)[number].value))
    outcome = run(name, [Poison(topic, poison, number, partition=good(topic)[number].partition)])
    assert outcome.ready
    assert len(outcome.dead_letters) + sum(outcome.dropped.values()) + len(outcome.answers) >= len(clean(name).answers)
    if any(letter.payload == poison[: len(letter.payload)] for letter in outcome.dead_letters):
        assert outcome.answers == clean(name).answers
        assert len(outcome.dead_letters) == 1


def _middle(topic: Topic, kind: type) -> tuple[int, bytes]:
    """A message of a kind in the second half of a plain run, and its place."""
    decoder = decoder_of(topic)
    records = good(topic)
    return next((n, records[n].value) for n in range(len(records) // 2, len(records)) if isinstance(decoder.decode(records[n].value), kind))


_TICK, _CLOSE = _middle(TICKS, Tick), _middle(TICKS, BarClose)


@pytest.mark.parametrize(
    ("place", "changes", "reason"),
    [
        pytest.param(_TICK, {"y__bid": "NaN"}, "invalid-price", id="price not a number"),
        pytest.param(_TICK, {"y__bid": "sNaN"}, "invalid-price", id="signalling price"),
        pytest.param(_TICK, {"x__ask": "1E+999999"}, "invalid-price", id="huge price"),
        pytest.param(_TICK, {"y__bid": "-5"}, "invalid-price", id="negative price"),
        pytest.param(_TICK, {"seq": 2**63}, "undecodable", id="seq beyond 64 bits"),
        pytest.param(_TICK, {"seq": -1}, "undecodable", id="negative seq"),
        pytest.param(_TICK, {"session": 10**30}, "undecodable", id="session beyond 64 bits"),
        pytest.param(_CLOSE, {"bar": 10**12}, "undecodable", id="bar after the year 2286"),
        pytest.param(_CLOSE, {"bar": 9_000_000_000}, "bar-jump", id="bar far ahead"),
        pytest.param(_CLOSE, {"status": "NICE"}, "undecodable", id="unknown status"),
    ],
)
def test_absurd_ticks_are_set_aside(place: tuple[int, bytes], changes: dict[str, Any], reason: str) -> None:
    """What cannot be right is a dead letter with its reason, and no answer changes."""
    outcome = run(KALMAN, [Poison(TICKS, changed(place[1], **changes), place[0])])
    assert outcome.reasons == [reason]
    assert outcome.answers == clean(KALMAN).answers


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"epoch": 0}, "old-epoch", id="older writer"),
        pytest.param({"session": 0, "seq": 10**6}, "old-session", id="session going back"),
        pytest.param({"bar": 5, "seq": 10**6}, "closed-bar", id="bar closed long ago"),
        pytest.param({"seq": 3}, "seen", id="seq seen before"),
        pytest.param({"pair": "DOGEUSDT-BTCUSDT"}, "unconfigured-pair", id="pair of others"),
    ],
)
def test_late_and_foreign_ticks_are_dropped(changes: dict[str, Any], reason: str) -> None:
    """What lies behind, or is none of ours, is dropped and counted, and no answer changes."""
    outcome = run(KALMAN, [Poison(TICKS, changed(_TICK[1], **changes), _TICK[0])])
    assert (outcome.dead_letters, outcome.dropped, outcome.answers) == ((), {reason: 1}, clean(KALMAN).answers)


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        pytest.param(changed(_TICK[1], seq=10**9), "seen", id="seq far ahead"),
        pytest.param(changed(_TICK[1], session=99), "old-session", id="later session"),
        pytest.param(changed(_TICK[1], epoch=99), "old-epoch", id="epoch of the future"),
        pytest.param(encode(WriterEpoch(epoch=99)), "old-epoch", id="marker of the future"),
    ],
)
def test_who_claims_the_log_gets_it(poison: bytes, reason: str) -> None:
    """A record that speaks for a later writer or session cannot be told from one: the earlier's records are then dropped, every one counted."""
    number, partition = _TICK[0], good(TICKS)[_TICK[0]].partition
    outcome = run(KALMAN, [Poison(TICKS, poison, number, partition=partition)])
    assert outcome.dead_letters == ()
    assert reason in outcome.dropped
    assert sum(outcome.dropped.values()) == sum(record.partition == partition for record in good(TICKS)[number:])
    assert outcome.ready


def test_a_wrong_partition_is_set_aside() -> None:
    """A record of a pair that belongs elsewhere would come out of order."""
    partition = 1 - good(TICKS)[_TICK[0]].partition
    outcome = run(KALMAN, [Poison(TICKS, _TICK[1], _TICK[0], partition=partition)])
    assert (outcome.reasons, outcome.answers) == (["wrong-partition"], clean(KALMAN).answers)


@pytest.mark.parametrize("key", ["", "BTCUSDT", "\ufffd" * 10, "x" * 10_000])
def test_a_wrong_key_does_not_matter(key: str) -> None:
    """A message says itself which pair it is about: a copy under another key is seen before like any."""
    outcome = run(KALMAN, [Poison(TICKS, good(TICKS)[_TICK[0] - 1].value, _TICK[0], key, good(TICKS)[0].partition)])
    assert (outcome.dead_letters, outcome.dropped, outcome.answers) == ((), {"seen": 1}, clean(KALMAN).answers)


_MARK, _THRESHOLDS = "mark", "thresholds"


@pytest.mark.parametrize(
    ("name", "topic", "tag", "changes", "reason"),
    [
        pytest.param(GARCH, HEDGE_RATIO_CLOSES, "hedge-ratio-close", {"estimate__innovation": 1e308}, "invalid-estimate", id="huge innovation"),
        pytest.param(GARCH, HEDGE_RATIO_CLOSES, "hedge-ratio-close", {"estimate__parameter_variance": -1.0}, "invalid-estimate", id="negative variance"),
        pytest.param(GARCH, HEDGE_RATIO_CLOSES, "hedge-ratio-close", {"last_tick__y__bid": "sNaN"}, "unusable-book", id="signalling book"),
        pytest.param(GARCH, HEDGE_RATIO_CLOSES, "hedge-ratio-close", {"last_tick__y__bid": "NaN"}, "unusable-book", id="book not a number"),
        pytest.param(RISK, EXECUTIONS, _MARK, {"equity_usd": "1E+999999"}, "not-finite", id="huge equity"),
        pytest.param(RISK, EXECUTIONS, _MARK, {"starting_usd": "1E-999999"}, "not-finite", id="vanishing start"),
        pytest.param(RISK, VOLATILITY_THRESHOLDS, _THRESHOLDS, {"standardised_innovation": 1e308}, "invalid-thresholds", id="huge surprise"),
        pytest.param(EXECUTION, HEDGE_RATIOS, "hedge-ratio", {"tick__y__ask": "1E+400"}, "unusable-book", id="huge ask"),
        pytest.param(EXECUTION, HEDGE_RATIOS, "hedge-ratio", {"tick__y__bid": "1E-30"}, "unusable-book", id="vanishing bid"),
        pytest.param(EXECUTION, HEDGE_RATIOS, "hedge-ratio", {"estimate__beta": -1e308}, "invalid-estimate", id="huge beta"),
        pytest.param(EXECUTION, RISK_SIGNALS, "risk-signal", {"budget_usd": "NaN"}, "invalid-budget", id="budget not a number"),
        pytest.param(EXECUTION, RISK_SIGNALS, "risk-signal", {"budget_usd": "-1"}, "invalid-budget", id="negative budget"),
        pytest.param(EXECUTION, RISK_SIGNALS, "risk-signal", {"thresholds__half_life_bars": 1e308}, "invalid-thresholds", id="endless half-life"),
        pytest.param(EXECUTION, RISK_SIGNALS, "risk-signal", {"thresholds__forecast_variance": -1.0}, "invalid-thresholds", id="negative forecast"),
        pytest.param(EXECUTION, RISK_SIGNALS, "risk-signal", {"session": 2**63}, "undecodable", id="session beyond 64 bits"),
    ],
)
def test_absurd_values_reach_no_state(name: str, topic: Topic, tag: str, changes: dict[str, Any], reason: str) -> None:
    """A value that would spoil a state, or could not be stored, is a dead letter, and no answer changes."""
    needle = f'"type":"{tag}"'.encode()
    has = [n for n, record in enumerate(good(topic)) if needle in record.value[:40] and b'"estimate":null' not in record.value]
    number = has[-3]
    outcome = run(name, [Poison(topic, changed(good(topic)[number].value, **changes), number, partition=good(topic)[number].partition)])
    assert outcome.reasons == [reason]
    assert outcome.answers == clean(name).answers


@pytest.mark.parametrize(
    ("name", "step", "error", "least"),
    [
        pytest.param(KALMAN, "services.kalman_filter.processor.KalmanModel.step", OverflowError, 101, id="kalman-filter"),
        pytest.param(GARCH, "services.garch_volatility.processor.GarchModel.step", InvalidOperation, BARS, id="garch-volatility"),
        pytest.param(RISK, "services.risk_manager.edge.step", ZeroDivisionError, 101, id="risk-manager"),
        pytest.param(EXECUTION, "services.execution.processor.step", ValueError, 101, id="execution"),
    ],
)
def test_what_cannot_be_computed_is_set_aside(name: str, step: str, error: type[Exception], least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pure step fails over an input, that input is a dead letter and the next one is taken."""
    calls = 0
    module, _, function = step.rpartition(".")
    owner = resolve_name(module)
    real = getattr(owner, function)

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise error
        return real(*arguments)

    monkeypatch.setattr(owner, function, failing)
    outcome = run(name, [])
    assert outcome.reasons == ["not-computable"]
    assert outcome.dead_letters[0].payload
    assert calls >= least
    assert outcome.ready


def _strangers() -> Sequence[tuple[Topic, bytes]]:
    """Well-formed messages where nobody asked for them."""
    return (
        (COMMANDS, encode(Command(id=1, target="DOGEUSDT-BTCUSDT", kind=CommandKind.RESUME, who="x", why="y", issued_at_ns=0))),
        (PROGRESS, encode(Progress(decided={"DOGEUSDT-BTCUSDT": 2**60}))),
        (RISK_SIGNALS, encode(RiskHeartbeat(sent_at_ns=2**60))),
    )


_NONSENSE = (b"", b"{}", b"null", b"\xff\xfe", b'{"type":"tick"}', b"[" * 5000)


@pytest.mark.parametrize("seed", range(3))
def test_poison_everywhere_changes_no_decision(seed: int, tmp_path: Path) -> None:
    """All services at work, bytes thrown at every topic and services killed in between: the same decisions, orders, fills and marks."""
    chance = random.Random(seed)
    (tmp_path / "clean").mkdir()
    (tmp_path / "poisoned").mkdir()
    made = offline(tmp_path / "poisoned", scenario().frames)
    thrown: list[bytes] = []

    def throw(topic: Topic, value: bytes) -> None:
        thrown.append(value)
        made.broker.append(topic, chance.randrange(PARTITIONS), chance.choice((PAIR, "", "x")), value)

    def order() -> str:
        if chance.random() < 0.2:
            throw(chance.choice(ALL_TOPICS), chance.choice((*_NONSENSE, chance.randbytes(chance.randrange(300)))))
        if chance.random() < 0.05:
            throw(*chance.choice(_strangers()))
        if chance.random() < 0.01:
            victim = chance.choice([name for name in NAMES if name != INGESTION])
            made.kill(victim)
            made.start(victim)
        return chance.choice(NAMES)

    for topic in ALL_TOPICS:
        throw(topic, b"before all")
    made.run(order)
    for service in made.services.values():  # One that was killed last has had no turn since.
        service.turn(0)
    assert len(thrown) > 40
    for log in made.broker.logs(EXECUTIONS):
        log.records[:] = [record for record in log.records if record.value not in thrown]
    assert outcomes(made) == plain_run(scenario(), tmp_path / "clean")
    assert {name: service.health() for name, service in made.services.items() if not service.health().ready} == {}
    letters = Counter(decoder_of(DEAD_LETTERS).decode(record.value).source for record in made.broker.records(DEAD_LETTERS) if record.value not in thrown)
    read = (TICKS, HEDGE_RATIOS, HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS, RISK_SIGNALS, EXECUTIONS, PROGRESS, COMMANDS)
    assert set(letters) >= {topic.name for topic in read}
