"""Health is progress: what a service may say of itself, judged by what it does."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from common.processor import Health, Service

CONSUMED = "crypto_bot_records_consumed_total"
PRODUCED = "crypto_bot_records_produced_total"
DEAD_LETTERS = "crypto_bot_dead_letters_total"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take and how much may go wrong."""

    #: Longest time to handle one turn's records before it is logged as SLOW.
    step_budget_s: float = 0.1
    #: The loop is alive while its last turn is younger than this ...
    live_within_s: float = 10.0
    #: ... or, while it recovers its state, its start.
    start_within_s: float = 120.0
    #: A turn that lasts longer has the stacks of all threads logged.
    stuck_after_s: float = 30.0
    #: Inputs may move for this long before an output must.
    progress_within_s: float = 30.0
    #: Share of records set aside that makes the service unready, over at least the last `dead_letter_window` records.
    dead_letter_limit: float = 0.05
    dead_letter_window: int = 1000
    #: What lies further back is forgiven, however few records have come since.
    dead_letter_memory_s: float = 60.0
    #: Fewer records than this count as this many, so that one bad record at the start is no alarm.
    dead_letter_least: int = 100


class Phase(StrEnum):
    """The life of a service's loop."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    ENDED = "ended"


class Pulse:
    """What the loop shows of itself to other threads; times are monotonic seconds."""

    def __init__(self, now_s: float) -> None:
        self.phase = Phase.STARTING
        #: End of the last turn.
        self.beat_s = now_s
        #: Begin of the turn in hand; None between turns.
        self.turn_began_s: float | None = None
        #: Why the broker, or the exchange, cannot be reached; empty while it can.
        self.transport_problem = ""
        self.exchange_problem = ""
        self._lock = threading.Lock()

    def advance(self, phase: Phase) -> None:
        """Enter a phase; a later one is never left for an earlier one."""
        order = list(Phase)
        with self._lock:
            self.phase = max(self.phase, phase, key=order.index)


class Check(NamedTuple):
    """One finding: whether it is well, what was seen, and what is wrong when it is not."""

    passed: bool
    observed: Any
    problem: str


class Report(NamedTuple):
    """What the health pages show."""

    live: bool
    ready: bool
    reason: str
    role: str
    checks: Mapping[str, Check]
    details: Mapping[str, Any]


class _Sample(NamedTuple):
    consumed: float
    dead_letters: float
    at_s: float

    def records_since(self, earlier: "_Sample") -> float:
        """How many records were seen; what is set aside may or may not count as consumed."""
        return max(self.consumed - earlier.consumed, self.dead_letters - earlier.dead_letters)


class HealthMonitor:
    """Judges a service by its loop, its own word, its dead letters and its progress.

    `sample` is called about once a second by one thread, `report` by any.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one for each thing that is looked at
        self,
        service: Service,
        pulse: Pulse,
        totals: Callable[[str], float],
        limits: Limits,
        monotonic: Callable[[], float],
        transport_problem: Callable[[], str],
    ) -> None:
        self._service, self._pulse, self._totals, self._limits, self._monotonic = service, pulse, totals, limits, monotonic
        self._transport_problem = transport_problem
        self._samples = deque([_Sample(totals(CONSUMED), totals(DEAD_LETTERS), monotonic())])
        self._produced = totals(PRODUCED)
        self._moved_s = monotonic()
        self._unanswered_since_s: float | None = None

    def sample(self) -> None:
        """Look at the counters."""
        now = self._monotonic()
        sample = _Sample(self._totals(CONSUMED), self._totals(DEAD_LETTERS), now)
        self._follow_progress(now, moved=sample.consumed > self._samples[-1].consumed)
        if sample[:2] != self._samples[-1][:2]:
            self._samples.append(sample)
        while len(self._samples) > 1 and now - self._samples[1].at_s > self._limits.dead_letter_memory_s:
            self._samples.popleft()
        while len(self._samples) > 2 and sample.records_since(self._samples[1]) >= self._limits.dead_letter_window:
            self._samples.popleft()

    def _follow_progress(self, now: float, *, moved: bool) -> None:
        produced, before = self._totals(PRODUCED), self._produced
        self._produced = produced
        if moved:
            self._moved_s = now
        if produced > before or now - self._moved_s > self._limits.progress_within_s:
            self._unanswered_since_s = None
        elif moved and self._unanswered_since_s is None:
            self._unanswered_since_s = now

    def report(self) -> Report:
        """Everything that is known now; never blocks."""
        health = self._ask()
        checks = {
            "loop": self._loop(),
            "transport": _reach(self._pulse.transport_problem or self._transport_problem()),
            "exchange": _reach(self._pulse.exchange_problem),
            "phase": self._phase(),
            "service": Check(health.ready, health.role, health.reason or "not ready"),
            "dead-letters": self._dead_letters(),
            "progress": self._progress(),
        }
        problems = [check.problem for check in checks.values() if not check.passed]
        return Report(
            live=checks["loop"].passed,
            ready=not problems,
            reason=problems[0] if problems else health.reason,
            role=health.role,
            checks=checks,
            details=health.details,
        )

    def _ask(self) -> Health:
        if self._pulse.phase is Phase.STARTING:
            return Health(ready=False, reason="recovering its state", role="starting")
        try:
            return self._service.health()
        except Exception as error:  # noqa: BLE001  # the page must answer whatever the service does
            return Health(ready=False, reason=f"health cannot be told: {type(error).__name__}: {error}", role="unknown")

    def _loop(self) -> Check:
        age_s = self._monotonic() - self._pulse.beat_s
        limit_s = self._limits.start_within_s if self._pulse.phase is Phase.STARTING else self._limits.live_within_s
        ended = self._pulse.phase is Phase.ENDED
        problem = "the loop has ended" if ended else f"the loop has not turned for {age_s:.0f} s"
        return Check(not ended and age_s <= limit_s, f"{age_s:.1f} s since the last turn", problem)

    def _phase(self) -> Check:
        return Check(self._pulse.phase is Phase.RUNNING, self._pulse.phase.value, f"the service is {self._pulse.phase}")

    def _dead_letters(self) -> Check:
        first, last = self._samples[0], self._samples[-1]
        records = max(last.records_since(first), self._limits.dead_letter_least)
        ratio = (last.dead_letters - first.dead_letters) / records
        problem = f"{ratio:.1%} of the last {records:.0f} records were set aside, {self._limits.dead_letter_limit:.1%} is the limit; see topic dead-letters"
        return Check(ratio < self._limits.dead_letter_limit, round(ratio, 4), problem)

    def _progress(self) -> Check:
        since_s = self._unanswered_since_s
        waiting_s = 0.0 if since_s is None else self._monotonic() - since_s
        problem = f"inputs move, outputs do not: none for {waiting_s:.0f} s"
        return Check(waiting_s <= self._limits.progress_within_s, f"{waiting_s:.1f} s of inputs without output", problem)


def _reach(problem: str) -> Check:
    return Check(not problem, problem or "reached", problem)
