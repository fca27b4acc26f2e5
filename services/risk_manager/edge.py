"""risk-manager at work: reads marks and thresholds, commits to risk.db, publishes signals, takes commands over HTTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from common.codec import Decoder, decoder_of, encode
from common.dead_letters import dead_letter
from common.errors import InvalidRecord, TransportError
from common.market import NANOSECONDS
from common.messages import Command, ExecutionMessage, Feed, Mark, RiskHeartbeat, Thresholds
from common.processor import Consumer, Health, Observer, Output, Producer, Record, Transport, WallClock
from common.settings import require_writable
from common.topics import COMMANDS, DEAD_LETTERS, EXECUTIONS, RISK_SIGNALS, VOLATILITY_THRESHOLDS
from common.trace import NO_TRACE, Trace
from services.risk_manager.core import GraceOver, Input, step, welcome
from services.risk_manager.desk import Desk, NotRecordedError, Request
from services.risk_manager.places import Places
from services.risk_manager.portfolio import BarKey, key_of
from services.risk_manager.recorded import Recorded
from services.risk_manager.recovery import COMMANDS_PARTITION, newest_command_id, open_reader
from services.risk_manager.reporting import Reporter
from services.risk_manager.settings import RiskSettings
from services.risk_manager.state import RiskState, drop_reason, oldest_mark
from services.risk_manager.store import RiskStore
from services.risk_manager.views import describe, summarise, waiting_for

MAX_RECORDS = 500
#: How often a heartbeat is sent, and what is not urgent is committed and cleared.
TICK_NS = NANOSECONDS
#: How long a request for a command waits until it is on disk.
COMMAND_TIMEOUT_S = 2.0
#: Commands that are shown.
AUDIT = 100


class RiskManagerService:
    """A `Service`: whatever is published is on disk first, and a restart publishes it again.

    Records that no close has used yet are not stored but read again, so one commit a bar is enough.
    """

    name = "risk-manager-service"

    def __init__(  # noqa: PLR0913 - its ports, and what a run in memory is given besides
        self,
        settings: RiskSettings,
        transport: Transport,
        observer: Observer,
        clock: WallClock,
        *,
        synchronous: str = "FULL",
        recorded: Recorded | None = None,
    ) -> None:
        """`synchronous` is SQLite's; less than FULL is for runs in memory. With `recorded` it replays a session."""
        self._settings = settings
        self._params = msgspec.structs.replace(settings.params, recorded=recorded)
        self._synchronous = synchronous
        self._transport = transport
        self._observer, self._reporter = observer, Reporter(observer)
        self._clock = clock
        self._thresholds: Decoder[Thresholds] = decoder_of(VOLATILITY_THRESHOLDS)
        self._executions: Decoder[ExecutionMessage] = decoder_of(EXECUTIONS)
        self._desk = Desk()
        self._store: RiskStore | None = None
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._state: RiskState | None = None
        self._places = Places(())
        self._audit: tuple[Command, ...] = ()
        self._last_command_id = 0
        self._outputs: list[tuple[Output, Trace]] = []
        self._grace: tuple[BarKey, int] | None = None
        self._ticked_at_ns = 0

    # Service

    def start(self) -> None:
        """Take risk.db, publish again what may not have arrived, go on reading. May be called again after a TransportError."""
        if self._store is None:
            folder = Path(self._settings.data_dir)
            require_writable(folder)
            self._store = RiskStore(folder, self._settings.stamp, synchronous=self._synchronous)
            self._audit = tuple(self._store.commands(after=self._store.last_command_id() - AUDIT))
            self._state, signals = welcome(self._params, self._store.load(self._params))
            self._outputs = [(Output(RISK_SIGNALS, signal.pair, signal), NO_TRACE) for signal in signals]
        self._store.renew()
        self._producer = self._producer or self._transport.producer()
        self._store.publish(self._producer)
        if self._consumer is None:
            self._last_command_id = max(self._store.last_command_id(), newest_command_id(self._transport))
            self._consumer, positions = open_reader(self._transport, self._observer, self._store.positions())
            self._places = Places(positions)

    def turn(self, timeout_s: float) -> int:
        """Obey operators, apply what is there, commit, publish."""
        consumer, _ = self._started()
        self._accept_commands()
        records = consumer.poll(self._until_grace_ends(timeout_s), MAX_RECORDS)
        self._prove_alive()
        for record in records:
            self._handle(record)
        now_ns = self._clock()
        self._end_grace(now_ns, behind=len(records) >= MAX_RECORDS)
        if self._outputs:
            self._save()
            self._publish()
        self._report(records, now_ns)
        if not 0 <= now_ns - self._ticked_at_ns < TICK_NS:
            self._tick(now_ns)
        return len(records)

    def stop(self) -> None:
        """Commit what is in hand and let go."""
        if self._store and self._producer:
            self._save()
            self._store.publish(self._producer)
            self._producer.flush()
            self._store.clear_published(self._producer)
        for handle in (self._consumer, self._producer, self._store):
            if handle:
                handle.close()
        self._store, self._producer, self._consumer = None, None, None

    def health(self) -> Health:
        """Ready once recovered: with no input there is nothing to answer."""
        state = self._state
        if state is None or self._consumer is None:
            return Health(ready=False, reason="recovering risk.db")
        waiting = waiting_for(state)
        reason = "; ".join(f"waiting for {what} of {', '.join(pairs)}" for what, pairs in waiting.items() if pairs)
        return Health(ready=True, reason=reason, details=summarise(self._params, state))

    # For operators

    def command(self, request: Request) -> Command:
        """Have a command written down; raises NotRecordedError when the loop does not get to it. Called from other threads."""
        return self._desk.submit(request, COMMAND_TIMEOUT_S)

    def describe(self) -> dict[str, Any]:
        """Tell what `/state` shows. Called from other threads."""
        state = self._state
        return describe(self._params, state, self._audit) if state else {}

    @property
    def pairs(self) -> tuple[str, ...]:
        """The configured pairs."""
        return self._params.pairs

    # Inputs

    def _handle(self, record: Record) -> None:
        try:
            message = self._decode(record)
            if message is None:
                self._places.pass_over(record)
            else:
                self._take_in(record, message)
        except InvalidRecord as error:
            self._places.pass_over(record)
            self._outputs.append((Output(DEAD_LETTERS, record.topic.name, dead_letter(self.name, record, error)), NO_TRACE))
            self._observer.count("crypto_bot_dead_letters_total", source=record.topic.name, reason=error.reason)

    def _decode(self, record: Record) -> Mark | Thresholds | None:
        """Read the record's message; None when it does not matter here."""
        if record.topic == VOLATILITY_THRESHOLDS:
            return self._thresholds.decode(record.value)
        message = self._executions.decode(record.value)
        return message if isinstance(message, Mark) else None

    def _take_in(self, record: Record, message: Mark | Thresholds) -> None:
        # Only what asks for an answer counts as consumed: orders and progress move without any.
        self._observer.count("crypto_bot_records_consumed_total", topic=record.topic.name)
        if reason := drop_reason(self._known_state(), message):
            if message.pair in self.pairs:
                self._places.pass_over(record)
            else:
                # While PAIRS is changed one service after the other, a successor may be told of this pair.
                self._places.hold(record, message)
            self._observer.count("crypto_bot_records_dropped_total", topic=record.topic.name, reason=reason)
            return
        try:
            self._apply(message, record.trace.with_time(self._clock()))
        except (ArithmeticError, ValueError) as error:
            # The step is pure, so the state is as it was before the record.
            raise InvalidRecord("not-computable", f"{type(error).__name__}: {error}") from error
        self._places.hold(record, message)

    def _apply(self, message: Input, trace: Trace = NO_TRACE) -> None:
        before = self._known_state()
        self._state, signals = step(self._params, before, message)
        self._outputs += [(Output(RISK_SIGNALS, signal.pair, signal), trace) for signal in signals]
        self._reporter.step(before, self._state, signals, trace.id)

    # Live: marks that do not come

    def _until_grace_ends(self, timeout_s: float) -> float:
        if self._grace is None:
            return timeout_s
        left_ns = self._grace[1] + self._settings.mark_grace_ns - self._clock()
        return min(timeout_s, max(left_ns, 0) / NANOSECONDS)

    def _end_grace(self, now_ns: int, *, behind: bool) -> None:
        """Close the oldest live bar without the marks that have not come in time; not while there is more to read."""
        oldest = oldest_mark(self._known_state())
        if oldest is None or oldest.feed is not Feed.LIVE or self._params.recorded:
            self._grace = None
        elif self._grace is None or self._grace[0] != key_of(oldest) or behind or now_ns < self._grace[1]:
            self._grace = (key_of(oldest), now_ns)
        elif now_ns - self._grace[1] >= self._settings.mark_grace_ns:
            self._apply(GraceOver(self._grace[0]))
            self._grace = None

    # Commands

    def _accept_commands(self) -> None:
        """Write down what operators ask for; they have their answer once it is on disk."""
        taken = self._desk.take()
        if not taken:
            return
        now_ns = self._clock()
        commands = [
            Command(id=number, target=request.target, kind=request.kind, who=request.who, why=request.why, issued_at_ns=now_ns)
            for number, (request, _) in enumerate(taken, start=self._last_command_id + 1)
        ]
        for command in commands:
            self._apply(command)
            self._outputs.append((Output(COMMANDS, command.target, command, COMMANDS_PARTITION), NO_TRACE))
        try:
            self._save(commands)
        except Exception as error:
            for _, promise in taken:
                promise.set_exception(NotRecordedError(str(error)))
            raise
        self._audit = (*self._audit, *commands)[-AUDIT:]
        self._last_command_id = commands[-1].id
        for command, (_, promise) in zip(commands, taken, strict=True):
            promise.set_result(command)
            self._observer.count("crypto_bot_risk_commands_total", kind=command.kind.value)
            self._observer.log("WARNING", "command", id=command.id, kind=command.kind.value, target=command.target, who=command.who, why=command.why)
        self._publish()

    # Outputs

    def _save(self, commands: Sequence[Command] = ()) -> None:
        """State, positions and what is to be published, all or nothing."""
        assert self._store is not None
        state, now_ns = self._known_state(), self._clock()
        outputs = [(output, trace.with_time(now_ns)) for output, trace in self._outputs]
        self._store.save(state, self._places.positions(state), outputs, commands)
        for topic in (RISK_SIGNALS, COMMANDS):
            if amount := sum(output.topic == topic for output, _ in self._outputs):
                self._observer.count("crypto_bot_records_produced_total", amount, topic=topic.name)
        self._outputs = []

    def _prove_alive(self) -> None:
        """Keep risk.db from a successor; raises LeaseLost, before anything is said, when there is one."""
        assert self._store is not None
        self._store.renew()

    def _publish(self) -> None:
        assert self._store is not None
        assert self._producer is not None
        self._store.publish(self._producer)

    def _tick(self, now_ns: int) -> None:
        """Once a second: heartbeat, positions, outbox, lag."""
        consumer, producer = self._started()
        self._ticked_at_ns = now_ns
        # First what fails when another has taken over: one that has been replaced has no heart to show.
        self._save()
        assert self._store is not None
        self._store.clear_published(producer)
        self._publish()
        heartbeat = encode(RiskHeartbeat(sent_at_ns=now_ns))
        for partition in range(self._transport.partitions(RISK_SIGNALS)):
            producer.send(RISK_SIGNALS, "", heartbeat, partition=partition)
        self._observer.gauge("crypto_bot_consumer_lag_records", consumer.lag())
        self._reporter.state(self._known_state())

    def _started(self) -> tuple[Consumer, Producer]:
        if self._consumer is None or self._producer is None:
            raise TransportError(f"{self.name} has not been started")
        return self._consumer, self._producer

    def _known_state(self) -> RiskState:
        assert self._state is not None
        return self._state

    def _report(self, records: Sequence[Record], now_ns: int) -> None:
        if oldest := min((record.trace.read_at_ns for record in records if record.trace), default=0):
            self._observer.observe("crypto_bot_input_age_seconds", (now_ns - oldest) / NANOSECONDS)
