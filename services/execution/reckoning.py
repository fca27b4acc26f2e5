"""What execution reports of its work: noted in the turn, reckoned up when there is time, for the next tick may be waiting."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from common.market import NANOSECONDS
from common.processor import Observer, Record
from common.topics import HEDGE_RATIOS
from common.trace import Trace
from services.execution import quality
from services.execution.engine import Engine
from services.execution.latency import HopLatency


class Decided(NamedTuple):
    """A tick that was decided, and when."""

    trace: Trace
    at_ns: int


class Reckoning:
    """Keeps what was read and decided until `settle`."""

    def __init__(self, observer: Observer) -> None:
        self.latency = HopLatency()
        self._observer = observer
        self._consumed: Counter[str] = Counter()
        self._decided: list[Decided] = []

    @property
    def waiting(self) -> int:
        """How many decided ticks wait for `settle`."""
        return len(self._decided)

    def note(self, records: Sequence[Record], engine: Engine, decided_ns: int) -> None:
        """Take over from the engine what it has decided; what came of it is published by `decided_ns`."""
        self._consumed.update([record.topic.name for record in records])
        self._decided += [Decided(trace, decided_ns) for trace in engine.decided_traces]
        engine.decided_traces.clear()
        for outputs, tick in engine.acted:
            quality.measure(self._observer, outputs, tick)
        engine.acted.clear()

    def settle(self, engine: Engine) -> None:
        """Report all of it."""
        self._time_decisions()
        self._count(engine)

    def _time_decisions(self) -> None:
        """Time from the socket to the decision; of the hops only the last tick's go to the metrics."""
        hops: Sequence[tuple[str, int]] = ()
        for trace, at_ns in self._decided:
            if trace:
                self._observer.observe("crypto_bot_tick_to_decision_seconds", (at_ns - trace.read_at_ns) / NANOSECONDS)
                hops = self.latency.add(trace, at_ns)
        for hop, duration_ns in hops:
            self._observer.observe("crypto_bot_hop_seconds", duration_ns / NANOSECONDS, hop=hop)
        self._decided.clear()

    def _count(self, engine: Engine) -> None:
        for topic, amount in self._consumed.items():
            self._observer.count("crypto_bot_records_consumed_total", amount, topic=topic)
        self._consumed.clear()
        for reason, amount in engine.dropped.items():
            self._observer.count("crypto_bot_records_dropped_total", amount, topic=HEDGE_RATIOS.name, reason=reason)
        engine.dropped.clear()
        if engine.held_records:
            self._observer.count("crypto_bot_records_held_total", engine.held_records)
            engine.held_records = 0
        if engine.gaps:
            self._observer.count("crypto_bot_sequence_gaps_total", engine.gaps, topic=HEDGE_RATIOS.name)
            engine.gaps = 0
