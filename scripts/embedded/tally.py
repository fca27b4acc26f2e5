"""What a run did, counted from the messages that the services published."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from common import messages as m

CENT = Decimal("0.01")


@dataclass
class PairView:
    """The last known state of a pair."""

    mark: m.Mark | None = None
    signal: m.RiskSignal | None = None
    ended: bool = False
    #: Market sessions that have come to their end.
    sessions: int = 0
    fits_accepted: int = 0
    round_trips: int = 0
    gates: Counter[str] = field(default_factory=Counter)
    #: Risk rules that held the pair back, in bars.
    rules: Counter[str] = field(default_factory=Counter)


class Tally:
    """Counts every message once, however often it was delivered."""

    def __init__(self, pairs: tuple[str, ...]) -> None:
        self.pairs = {pair: PairView() for pair in pairs}
        self.counts: Counter[str] = Counter()
        self.bars_by_model: Counter[str] = Counter()
        self.changepoint_actions: Counter[str] = Counter()
        #: By the service that set them aside.
        self.dead_letters: Counter[str] = Counter()
        self.open_bars: set[tuple[str, int]] = set()
        self._last_bar: dict[tuple[str, str], int] = {}
        self._seen: set[tuple[Any, ...]] = set()

    def add(self, message: m.Message) -> None:
        """Count one message."""
        match message:
            case m.Thresholds():
                self._add_thresholds(message)
            case m.RiskSignal():
                self._add_signal(message)
            case m.Mark():
                self._add_mark(message)
            case m.OrderEvent():
                self._add_order(message)
            case m.Decision() | m.Fill() | m.RoundTrip() | m.DeadLetter():
                self._add_event(message)
            case _:
                pass

    @property
    def ended(self) -> bool:
        """Whether the recording's last bar was closed for every pair, up to the risk signal."""
        return all(view.ended for view in self.pairs.values()) and not self.open_bars

    @property
    def sessions(self) -> int:
        """Market sessions that have come to their end for every pair: rounds of a recording that loops."""
        return min(view.sessions for view in self.pairs.values())

    def money(self) -> dict[str, Decimal]:
        """Gross, fees, funding and net over all pairs, USD; open legs are valued at the last mark."""
        marks = [view.mark for view in self.pairs.values() if view.mark]
        gross = sum((mark.realised_usd + mark.unrealised_usd for mark in marks), Decimal(0)).quantize(CENT)
        fees = sum((mark.fees_usd for mark in marks), Decimal(0)).quantize(CENT)
        funding = sum((mark.funding_usd for mark in marks), Decimal(0)).quantize(CENT)
        return {"gross_pnl_usd": gross, "fees_usd": fees, "funding_usd": funding, "net_pnl_usd": gross + fees + funding}

    def open_positions(self) -> int:
        """Pairs that hold anything at their last mark."""
        return sum(1 for view in self.pairs.values() if view.mark and (view.mark.y_quantity or view.mark.x_quantity))

    def blocking_gates(self) -> Counter[str]:
        """Gates that blocked an entry at a bar's last tick, over all pairs."""
        return sum((view.gates for view in self.pairs.values()), Counter())

    def restraining_rules(self) -> Counter[str]:
        """Risk rules that held a pair back, in bars, over all pairs: what is behind the gate `trading`."""
        return sum((view.rules for view in self.pairs.values()), Counter())

    def _add_thresholds(self, message: m.Thresholds) -> None:
        if self._newer("thresholds", message.pair, message.bar):
            self.bars_by_model[message.volatility_model] += 1
            self.pairs[message.pair].fits_accepted = message.fits_accepted

    def _add_signal(self, message: m.RiskSignal) -> None:
        if self._newer("signal", message.pair, message.bar):
            view = self.pairs[message.pair]
            before = view.signal.changepoint.action if view.signal else m.ChangepointAction.NONE
            if message.changepoint.action not in (before, m.ChangepointAction.NONE):
                self.changepoint_actions[message.changepoint.action] += 1
            view.signal = message
            view.rules.update(result.rule for result in message.reasons if result.verdict is not m.Verdict.ACTIVE)
            self.open_bars.discard((message.pair, message.bar))

    def _add_mark(self, message: m.Mark) -> None:
        if self._newer("mark", message.pair, message.bar):
            view = self.pairs[message.pair]
            view.mark = message
            view.ended = message.end
            view.sessions += message.end
            self.counts["bars"] += 1
            if message.blocking_gate:
                view.gates[message.blocking_gate] += 1
            if view.signal is None or view.signal.bar < message.bar:
                self.open_bars.add((message.pair, message.bar))

    def _add_order(self, message: m.OrderEvent) -> None:
        if message.status is m.OrderStatus.INTENT:
            self._once("orders", message.client_id)
        elif message.status is m.OrderStatus.REJECTED:
            self._once("rejected", message.client_id)

    def _add_event(self, message: m.Decision | m.Fill | m.RoundTrip | m.DeadLetter) -> None:
        match message:
            case m.Decision():
                self._once("decisions", message.pair, message.seq, message.action)
            case m.Fill():
                self._once("fills", message.trade_id)
            case m.RoundTrip() if self._once("round_trips", message.pair, message.seq):
                self.pairs[message.pair].round_trips += 1
            case m.DeadLetter() if self._once("dead_letters", message.service, message.source, message.partition, message.offset):
                self.dead_letters[message.service] += 1
            case _:
                pass

    def _newer(self, kind: str, pair: str, bar: int) -> bool:
        """Whether this is the first record of its kind for the pair and bar: bars only ascend."""
        if pair not in self.pairs or bar <= self._last_bar.get((kind, pair), -1):
            return False
        self._last_bar[kind, pair] = bar
        return True

    def _once(self, kind: str, *key: Any) -> bool:
        if (kind, *key) in self._seen:
            return False
        self._seen.add((kind, *key))
        self.counts[kind] += 1
        return True
