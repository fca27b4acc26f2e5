"""All pairs at once: routes what was read to its pair, holds it back long enough, and gathers what must be committed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.errors import InvalidRecord
from common.market import Pair
from common.messages import PORTFOLIO, Command, Execution, Feed, HedgeRatio, HedgeRatioClose, RiskSignal, StopCause, Tick
from common.plausible import require_books, require_estimate, require_marks, require_signal
from common.trace import NO_TRACE, Trace
from services.execution import processor
from services.execution.committed import Committed
from services.execution.hold import Held, PairQueue, drop_reason, release
from services.execution.state import Hold, PairState, Params, initial_state, where


class Engine:
    """The pairs' states and queues; what it has done since the last `taken` is in its public fields."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it starts from, and its limits by the clock
        self,
        params: Mapping[str, Params],
        states: Mapping[str, PairState],
        signals: Iterable[RiskSignal],
        max_wait_ns: int,
        committed: Committed | None = None,
        max_age_ns: int = 0,
    ) -> None:
        """With `committed` it replays: live holds end, and commands act, where the record says so.

        Live, a tick that was read more than `max_age_ns` ago gives no new exposure; 0 sets no limit.
        """
        self._max_age_ns = max_age_ns
        self._now_ns = 0
        self.params = params
        self._committed = committed
        self.states = {pair: states.get(pair) or initial_state(each) for pair, each in params.items()}
        self._queues = {pair: PairQueue(self.states[pair], each.bar_interval_ns) for pair, each in params.items()}
        self._signals: dict[str, dict[tuple[int, int], RiskSignal]] = {pair: {} for pair in params}
        self._max_wait_ns = max_wait_ns
        #: Live pairs that wait: for which bar, and the wall time since when.
        self._waiting_since: dict[str, tuple[int, int]] = {}
        self._touched: set[str] = set()
        self._changed: set[str] = set()
        self.urgent = False
        self.outputs: list[tuple[Sequence[Execution], Trace]] = []
        #: Of each pair's last tick.
        self.last_traces: dict[str, Trace] = {}
        #: Of each tick that was decided.
        self.decided_traces: list[Trace] = []
        #: Ticks that brought something about, and what.
        self.acted: list[tuple[Sequence[Execution], Tick]] = []
        #: The last seq that was decided, by pair.
        self.decided: dict[str, int] = {}
        #: Records that had to wait for a risk signal beyond the turn that read them.
        self.held_records = 0
        self._pushed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        #: Records that no decision could be worked out of, by pair, and why.
        self.refused: list[tuple[str, Held, InvalidRecord]] = []
        self.gaps = 0
        for signal in signals:
            # One of a pair that is no longer configured may still be stored.
            if signal.pair in params:
                self.take_signal(signal)

    def take_hedge(self, held: Held) -> bool:
        """Queue a record of `hedge-ratios`, unless its pair is not configured; raises InvalidRecord for one that cannot be used."""
        message = held.message
        pair = message.pair
        if not self._is_configured(pair):
            return False
        tick = message.tick if isinstance(message, HedgeRatio) else message.last_tick
        if tick:
            require_books(tick)
        if message.estimate:
            require_estimate(message.estimate)
        if isinstance(message, HedgeRatioClose):
            require_marks(message.close)
        self._queues[pair].push(held)
        self._pushed[pair] += 1
        self._touched.add(pair)
        return True

    def take_signal(self, signal: RiskSignal) -> bool:
        """Keep a risk signal; returns whether it is still needed."""
        if not self._is_configured(signal.pair):
            return False
        require_signal(signal)
        if not _needed(self.states[signal.pair], signal.session, signal.bar):
            self.dropped["old-signal"] += 1
            return False
        self._signals[signal.pair][signal.session, signal.bar] = signal
        self._touched.add(signal.pair)
        return True

    def take_command(self, command: Command) -> None:
        """Obey a command at once; raises InvalidRecord when its target is not known."""
        if command.target != PORTFOLIO:
            self._require_pair(command.target)
        if self._committed is not None:
            return
        for pair in self.params if command.target == PORTFOLIO else (command.target,):
            self._apply(pair, processor.obey(self.params[pair], self.states[pair], command))
        self.urgent = True

    def limit_exposure(self, reason: str) -> None:
        """Stop new exposure of all pairs for a reason, allow it again without; in a replay the record says when."""
        if self._committed is not None:
            return
        for pair, params in self.params.items():
            self._apply(pair, processor.limit_exposure(params, self.states[pair], stopped=bool(reason), reason=reason))

    def advance(self, now_ns: int) -> None:
        """Process every record that need not wait."""
        self._now_ns = now_ns
        for pair in self._touched:
            self._drain(pair)
        self._touched.clear()
        self._count_held()
        self._note_waits(now_ns)
        for pair in tuple(self._waiting_since):
            while pair in self._waiting_since and now_ns - self._waiting_since[pair][1] >= self._wait_ns(pair):
                self._expire(pair, now_ns)
        self._note_waits(now_ns)

    def patience_ns(self, now_ns: int) -> int | None:
        """How long the first live hold has left; None when nothing can expire."""
        ends = [since_ns + self._wait_ns(pair) - now_ns for pair, (_, since_ns) in self._waiting_since.items()]
        return max(0, min(ends)) if ends else None

    def taken(self) -> dict[str, PairState]:
        """Return the states that have changed since the last call, and forget what was done since then."""
        states = {pair: self.states[pair] for pair in self._changed}
        for pair, state in states.items():
            kept = self._signals[pair]
            self._signals[pair] = {key: signal for key, signal in kept.items() if _needed(state, *key)}
        self._changed.clear()
        self.outputs.clear()
        self.urgent = False
        return states

    @property
    def session(self) -> int:
        """The newest session that a pair has begun."""
        return max(state.session for state in self.states.values())

    def held(self) -> dict[str, int]:
        """How many records wait, by pair that has some."""
        return {pair: len(queue) for pair, queue in self._queues.items() if queue}

    def held_from(self) -> dict[int, tuple[int, int]]:
        """First offset and number of the records that wait, by partition."""
        found: dict[int, tuple[int, int]] = {}
        for queue in self._queues.values():
            if queue:
                first, count = found.get(queue.head.partition, (queue.head.offset, 0))
                found[queue.head.partition] = min(first, queue.head.offset), count + len(queue)
        return found

    def _count_held(self) -> None:
        for pair, pushed in self._pushed.items():
            self.held_records += min(pushed, len(self._queues[pair]))
        self._pushed.clear()

    def _waiting(self) -> list[str]:
        if self._committed is not None:
            return []
        return [pair for pair, queue in self._queues.items() if queue and not self.states[pair].waits_for_ever]

    def _note_waits(self, now_ns: int) -> None:
        self._waiting_since = {pair: self._since(pair, now_ns) for pair in self._waiting()}

    def _since(self, pair: str, now_ns: int) -> tuple[int, int]:
        """The bar that a pair waits to begin, and since when."""
        bar = where(self._queues[pair].head.message).bar
        known = self._waiting_since.get(pair)
        return known if known and known[0] == bar else (bar, now_ns)

    def _wait_ns(self, pair: str) -> int:
        """How long a live bar waits for its signal: not at all when the one before waited in vain and a later one is here already."""
        queue = self._queues[pair]
        behind = self.states[pair].hold is Hold.EXPIRED and where(queue.newest.message).bar > where(queue.head.message).bar
        return 0 if behind else self._max_wait_ns

    def _expire(self, pair: str, now_ns: int) -> None:
        """Begin a bar whose signal has not come in time. The next bar has its own time to wait."""
        bar, _ = self._waiting_since.pop(pair)
        self._apply(pair, processor.expire(self.params[pair], self.states[pair], bar))
        self._drain(pair)
        if pair in self._waiting():
            self._waiting_since[pair] = self._since(pair, now_ns)

    def _drain(self, pair: str) -> None:
        queue, signals = self._queues[pair], self._signals[pair]
        self._apply_committed(pair)
        while queue:
            state, message = self.states[pair], queue.head.message
            if reason := drop_reason(state, message):
                self.dropped[reason] += 1
                queue.pop()
                continue
            released = release(state, message, signals)
            if released is None:
                return
            held = queue.pop()
            self._watch_age(pair, held)
            try:
                self._step(pair, held, released.signal)
            except (ArithmeticError, ValueError) as error:
                # The step is pure, so the state is as it was before the record.
                self.refused.append((pair, held, InvalidRecord("not-computable", f"{type(error).__name__}: {error}")))
            self._apply_committed(pair)

    def _watch_age(self, pair: str, held: Held) -> None:
        """Live: stop new exposure before a tick that is too old, allow it again before one of half that age.

        A backlog after somebody was away is old; what it would have been right to enter then may be wrong by now.
        """
        state, read_at_ns = self.states[pair], held.trace.read_at_ns
        by_age = self._max_age_ns and read_at_ns and isinstance(held.message, HedgeRatio)
        if not by_age or self._committed is not None or state.feed is not Feed.LIVE:
            return
        age_ns = self._now_ns - read_at_ns
        if age_ns > (self._max_age_ns // 2 if state.old_data else self._max_age_ns):
            if not state.old_data:
                reason = f"read {age_ns / 1e6:.0f} ms ago, the limit is {self._max_age_ns / 1e6:g} ms"
                self._apply(pair, processor.limit_exposure(self.params[pair], state, stopped=True, reason=reason, cause=StopCause.OLD_DATA))
        elif state.old_data:
            self._apply(pair, processor.limit_exposure(self.params[pair], state, stopped=False, reason="", cause=StopCause.OLD_DATA))

    def _apply_committed(self, pair: str) -> None:
        """A replay: what the record says happened between the last record and the next."""
        queue = self._queues[pair]
        while self._committed is not None and (
            result := self._committed.apply_next(self.params[pair], self.states[pair], queue.head.message if queue else None)
        ):
            self._apply(pair, result)

    def _step(self, pair: str, held: Held, signal: RiskSignal | None) -> None:
        before, message = self.states[pair], held.message
        result = processor.step(self.params[pair], before, message, signal)
        self._apply(pair, result, held.trace)
        seq = self.states[pair].last_seq
        self.decided[pair] = seq
        self.gaps += seq > before.last_seq + 1 and before.last_seq >= 0
        if isinstance(message, HedgeRatio):
            self.decided_traces.append(held.trace)
            self.last_traces[pair] = held.trace
            if result[1]:
                self.acted.append((result[1], message.tick))

    def _apply(self, pair: str, result: tuple[PairState, Sequence[Execution]], trace: Trace = NO_TRACE) -> None:
        self.states[pair], outputs = result
        self._changed.add(pair)
        if outputs:
            self.outputs.append((outputs, trace))
            self.urgent = True

    def _is_configured(self, pair: str) -> bool:
        """Whether a pair is one of ours; records of a pair that has left PAIRS are passed over and counted."""
        if pair not in self.params:
            Pair.parse(pair)
            self.dropped["unconfigured-pair"] += 1
        return pair in self.params

    def _require_pair(self, pair: str) -> None:
        if pair not in self.params:
            raise InvalidRecord("unknown-pair", f"{pair} is not in PAIRS")


def _needed(state: PairState, session: int, bar: int) -> bool:
    return session > state.session or (session == state.session and bar >= state.bar - 1)
