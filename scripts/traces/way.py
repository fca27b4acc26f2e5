"""What the records of one trace say: each service's times, what was decided, and what became of the orders. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from common.messages import (
    BarClose,
    Decision,
    Execution,
    Fill,
    HedgeRatio,
    HedgeRatioClose,
    Mark,
    Message,
    OrderEvent,
    OrderStatus,
    Progress,
    RiskSignal,
    Thresholds,
    Tick,
)
from common.topics import EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS, Topic
from common.trace import Trace

_FIRST = ("ingestion-service", "kalman-filter-service")
#: Whose times a topic's records carry, two a service; what risk answers came by garch-volatility or, as a mark, by execution.
SERVICES: Mapping[Topic, tuple[str, ...]] = {
    TICKS: _FIRST[:1],
    HEDGE_RATIOS: _FIRST,
    VOLATILITY_THRESHOLDS: (*_FIRST, "garch-volatility-service"),
    RISK_SIGNALS: (*_FIRST, "", "risk-manager-service"),
    EXECUTIONS: (*_FIRST, "execution-service"),
}
TERMINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED})


class Found(NamedTuple):
    """A record as it was found; `time_ms` is when its producer handed it over, wall time."""

    topic: Topic
    partition: int
    offset: int
    time_ms: int
    trace: Trace
    message: Message

    @property
    def place(self) -> str:
        """Where it is."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Hop(NamedTuple):
    """A service on the way: when the one before sent its record, when this one had it in hand and when it sent what came of it, ns wall time."""

    service: str
    place: str
    came_ns: int
    received_ns: int
    sent_ns: int


@dataclass
class Way:
    """What became of a frame in one pair."""

    pair: str
    seq: int
    bar: int
    kind: str
    event_time_ns: int = 0
    hops: list[Hop] = field(default_factory=list)
    said: list[tuple[Found, Execution]] = field(default_factory=list)
    #: Later records about the orders that were decided here.
    later: list[tuple[Found, Execution]] = field(default_factory=list)
    #: Wall time, ms, by which execution had told that it was past this seq.
    decided_by_ms: int | None = None

    def of(self, kind: type[Execution]) -> list[Any]:
        """What execution said of one kind, here and later."""
        return [message for _, message in (*self.said, *self.later) if isinstance(message, kind)]


def ways(own: Sequence[Found], executions: Sequence[Found]) -> list[Way]:
    """The way of each pair's tick or bar close.

    Parameters
    ----------
    own
        Every record of the trace, in any order.
    executions
        Records of `executions` and `progress` from that time on, whatever their trace.
    """
    found: dict[tuple[str, int], Way] = {}
    for record in sorted(own, key=lambda each: len(each.trace)):
        if (at := _place_of(record.message)) is None:
            continue
        way = found.setdefault(at, Way(*at, bar=_bar_of(record.message), kind=_kind(record.message), event_time_ns=_event_time_ns(record.message)))
        for hop in _hops_of(record):
            _note_hop(way, hop)
        if isinstance(record.message, Execution):
            way.said.append((record, record.message))
    for way in found.values():
        _follow(way, executions)
    return sorted(found.values(), key=lambda way: way.pair)


def unfinished(client_ids: Iterable[str], executions: Iterable[Found]) -> set[str]:
    """The orders among these of which no end is told."""
    ended = {each.message.client_id for each in executions if isinstance(each.message, OrderEvent) and each.message.status in TERMINAL}
    return set(client_ids) - ended


def decided_orders(own: Iterable[Found]) -> set[str]:
    """Orders that came into being in a trace."""
    return {each.message.client_id for each in own if isinstance(each.message, OrderEvent) and each.message.status is OrderStatus.INTENT}


def document(trace: Trace, found: Sequence[Way]) -> dict[str, Any]:
    """Everything as plain data: times in ns, durations in ms from the socket read on."""
    return {"trace_id": trace.id, "read_at_ns": trace.read_at_ns, "ways": [_as_dict(way, trace.read_at_ns) for way in found]}


def since_ms(at_ns: int, read_at_ns: int) -> float:
    """Milliseconds from the socket read to a time."""
    return round((at_ns - read_at_ns) / 1e6, 3)


def _follow(way: Way, executions: Iterable[Found]) -> None:
    mine = {found.place for found, _ in way.said}
    orders = {event.client_id for event in way.of(OrderEvent) if event.status is OrderStatus.INTENT}
    for found in executions:
        message = found.message
        if isinstance(message, OrderEvent | Fill) and message.client_id in orders and found.place not in mine:
            way.later.append((found, message))
        elif isinstance(message, Progress) and message.decided.get(way.pair, -1) >= way.seq:
            way.decided_by_ms = min(way.decided_by_ms or found.time_ms, found.time_ms)


def _place_of(message: Message) -> tuple[str, int] | None:
    match message:
        case Tick() | BarClose() | HedgeRatio() | HedgeRatioClose() | Thresholds():
            source = message.source if isinstance(message, HedgeRatio | HedgeRatioClose) else message
            return source.pair, source.seq
        case RiskSignal():
            return message.pair, message.thresholds.seq
        case Execution():
            return message.pair, message.seq
        case _:
            return None


def _bar_of(message: Any) -> int:
    return int(message.source.bar if isinstance(message, HedgeRatio | HedgeRatioClose) else message.bar)


def _event_time_ns(message: Any) -> int:
    source = message.source if isinstance(message, HedgeRatio | HedgeRatioClose) else message
    return int(getattr(source, "event_time_ns", 0) or getattr(source, "end_time_ns", 0))


def _kind(message: Message) -> str:
    return "bar close" if isinstance(message, BarClose | HedgeRatioClose | Thresholds | RiskSignal | Mark) else "tick"


def _hops_of(record: Found) -> Iterator[Hop]:
    """The services whose times a record's header has; the record itself is the last one's."""
    times, services = record.trace.times_ns, SERVICES[record.topic]
    if len(times) == 2 * len(services):
        for number, service in enumerate(services):
            last = number == len(services) - 1
            received = times[2 * number]
            yield Hop(service, record.place if last else "", times[2 * number - 1] if number else received, received, times[2 * number + 1])


def _note_hop(way: Way, hop: Hop) -> None:
    """The first of several records that a service sent at once, or sent again."""
    if not hop.service:
        return
    if all(known.service != hop.service for known in way.hops):
        way.hops.append(hop)
        way.hops.sort(key=lambda each: each.received_ns)


def _as_dict(way: Way, read_at_ns: int) -> dict[str, Any]:
    return {
        "pair": way.pair,
        "seq": way.seq,
        "bar": way.bar,
        "kind": way.kind,
        "event_time_ns": way.event_time_ns,
        "hops": [*_hops(way, read_at_ns)],
        "decided_within_ms": None if way.decided_by_ms is None else round(way.decided_by_ms - read_at_ns / 1e6, 3),
        "decisions": [_plain(each) for each in way.of(Decision)],
        "orders": [_plain(each) for each in way.of(OrderEvent)],
        "fills": [_plain(each) for each in way.of(Fill)],
        "said": [{"place": found.place, **_plain(message)} for found, message in way.said if not isinstance(message, Decision | OrderEvent | Fill)],
    }


def _hops(way: Way, read_at_ns: int) -> Iterator[dict[str, Any]]:
    for hop in way.hops:
        yield {
            "service": hop.service,
            "record": hop.place,
            "received_ns": hop.received_ns,
            "sent_ns": hop.sent_ns,
            "on_the_way_ms": since_ms(hop.received_ns, hop.came_ns),
            "in_service_ms": since_ms(hop.sent_ns, hop.received_ns),
            "since_read_ms": since_ms(hop.sent_ns, read_at_ns),
        }


def _plain(message: Message) -> dict[str, Any]:
    return dict(msgspec.to_builtins(message))
