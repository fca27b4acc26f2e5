"""Execution as a service: reads hedge ratios, risk signals and commands, keeps the ledger, publishes, answers HTTP."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import fastapi

from common.bootstrap import Context
from common.codec import Decoder, decoder_of, encode
from common.dead_letters import dead_letter
from common.errors import ConfigurationError, InvalidRecord
from common.io.exchange import ExchangeClient
from common.io.sqlite import reading
from common.market import NANOSECONDS
from common.messages import PROGRESS_TICKS, OrderEvent, Progress, RiskHeartbeat
from common.processor import Consumer, Health, Observer, Output, Producer, Record, Transport, WallClock
from common.rules import SymbolRules
from common.settings import require_writable
from common.topics import COMMANDS, DEAD_LETTERS, EXECUTIONS, HEDGE_RATIOS, PROGRESS, RISK_SIGNALS, Topic
from services.execution import gauges, history, views
from services.execution.committed import Committed
from services.execution.engine import Engine
from services.execution.hold import Held
from services.execution.ledger import LEDGER_FILE, Batch, Ledger
from services.execution.offsets import Brake, Offsets
from services.execution.params import params_of
from services.execution.reckoning import Reckoning
from services.execution.reporting import report
from services.execution.set_aside import DeadLetterShare
from services.execution.settings import ExecutionSettings
from services.execution.snapshot import ACTIVE, RECOVERING, STANDBY, Snapshot
from services.execution.state import PairState, Params, initial_state, where

NAME = "execution-service"

Rules = Mapping[str, SymbolRules] | Callable[[], Mapping[str, SymbolRules]]

#: Decided in one turn: the first of a burst shall not wait until the last is decided.
MOST_RECORDS = 16
#: How long ingestion may be left without word of what is decided.
PROGRESS_INTERVAL_NS = 25_000_000
#: How often the outbox is emptied, when idle and in any case, and pairs are shown to people. Most commits empty it along the way.
CLEAR_INTERVAL_NS = NANOSECONDS
CLEAR_LATEST_NS = 30 * NANOSECONDS
SHOW_INTERVAL_NS = NANOSECONDS // 2
#: How often a standby reads the ledger, to show it.
STANDBY_INTERVAL_NS = NANOSECONDS
#: A partition with more waiting records rests until half of them are gone; what they wait for lies before them or elsewhere.
MAX_HELD_RECORDS = 5000
#: Orders that are kept at hand for people.
RECENT_ORDERS = 1000

_INPUTS = (HEDGE_RATIOS, RISK_SIGNALS, COMMANDS)


class ExecutionService:
    """The single writer of the ledger, or a standby that waits to become it; paper trading only."""

    name = NAME

    def __init__(  # noqa: PLR0913, PLR0917  # each is a port of its own
        self,
        settings: ExecutionSettings,
        transport: Transport,
        observer: Observer,
        clock: WallClock,
        rules: Rules,
        ledger: Ledger,
        committed: Committed | None = None,
    ) -> None:
        """`rules` is the venue's, by symbol, or what asks the venue for them at the start; with `committed` it replays a session."""
        self._committed = committed
        self._settings, self._transport, self._observer, self._clock = settings, transport, observer, clock
        self._rules, self._ledger = rules, ledger
        self._decoders: dict[Topic, Decoder[Any]] = {topic: decoder_of(topic) for topic in _INPUTS}
        self._reckoning = Reckoning(observer)
        self._orders: dict[str, OrderEvent] = {}
        self._batch = Batch()
        self._progress: dict[str, int] = {}
        self._progress_at_ns = self._cleared_at_ns = self._shown_at_ns = 0
        self._unpublished, self._uncleared = True, False
        self._consumer: Consumer | None = None
        self.snapshot = Snapshot()

    def start(self) -> None:
        """Go on where the ledger stands, or stand by while another replica writes it. May be called again after a TransportError."""
        self._params = params_of(self._settings, self._rules() if callable(self._rules) else self._rules)
        if not self._become_active():
            self._show_standby(self._clock())
            self._observer.log("INFO", "standing by", holder=self.snapshot.holder, epoch=self.snapshot.epoch)

    def _become_active(self) -> bool:
        """Take the ledger if it can be had, and recover; a recovery that failed is tried again."""
        ledger = self._ledger
        if not ledger.epoch:
            before, waited = ledger.holder(), self.snapshot.role == STANDBY
            if not ledger.try_take(lambda: self._transport.end_offsets(HEDGE_RATIOS)):
                return False
            self.snapshot.role = RECOVERING
            self._observer.log("WARNING" if waited else "INFO", "took the ledger", epoch=ledger.epoch, holder_before=before.holder)
        ledger.renew()
        self._recover()
        return True

    def _recover(self) -> None:
        """Publish what was not, tell ingestion what is decided, take up the inputs."""
        params = self._params
        _require_no_orphans(params, self._ledger.states())
        states = self._ledger.note_pairs(params)
        wait_ns, age_ns = self._settings.max_signal_wait_ms * 1_000_000, self._settings.max_data_age_ms * 1_000_000
        self._engine = Engine(params, states, self._ledger.signals(), wait_ns, self._committed, age_ns)
        stop = next((state.exposure_stop for state in states.values() if state.exposure_stop), "")
        self._unusable = DeadLetterShare(self._settings.dead_letter_limit, exceeded=bool(stop))
        self._limit_exposure(stop)
        self._orders = {order.client_id: order for order in self._ledger.recent_orders(RECENT_ORDERS)}
        self.snapshot.traces = self._engine.last_traces
        self._offsets = Offsets(self._ledger.positions(), {topic: self._transport.partitions(topic) for topic in _INPUTS})
        self._offsets.require_within({topic: self._transport.end_offsets(topic) for topic in _INPUTS})
        for gone, oldest in self._offsets.pass_over_gone({topic: self._transport.oldest_offsets(topic) for topic in _INPUTS}):
            event = "records not yet read are gone from the topic, going on at the oldest"
            self._observer.log("ERROR", event, topic=gone.topic.name, partition=gone.partition, offset=gone.offset, oldest=oldest)
        self._brake = Brake(MAX_HELD_RECORDS)
        self._publish()
        self._progress = {pair: state.last_seq for pair, state in self._engine.states.items() if state.last_seq >= 0}
        self._cleared_at_ns = self._clock()
        self._send_progress(self._cleared_at_ns)
        self._consumer = self._transport.reader(self._offsets.to_read())
        self._observer.gauge("crypto_bot_lease_epoch", self._ledger.epoch)
        self.snapshot.holder, self.snapshot.epoch, _ = self._ledger.holder()
        self._take_snapshot()
        self.snapshot.role = ACTIVE

    def turn(self, timeout_s: float) -> int:
        """Read, decide, commit, publish; as standby, look whether there is anything to take over."""
        if self._consumer is None:
            return self._stand_by(timeout_s)
        records = self._consumer.poll(self._patience_s(timeout_s), MOST_RECORDS)
        self._ledger.renew()
        now_ns = self._clock()
        for record in records:
            self._route(record, now_ns)
        self._guard_exposure()
        self._engine.advance(now_ns)
        self._set_aside_refused()
        self._commit()
        self._publish()
        self._keep_books(records)
        self._rest_or_resume()
        self._take_snapshot()
        self._now_and_then(now_ns, idle=not records)
        return len(records)

    def stop(self) -> None:
        """Publish and forget what is committed; what is held is read again by the next start."""
        if self._consumer is None:
            self._ledger.close()
            return
        self._publish()
        self._send_progress(self._clock())
        self._producer.flush()
        self._ledger.clear_published(self._producer)
        self._consumer.close()
        self._producer.close()
        self._ledger.close()

    def health(self) -> Health:
        """What the snapshot says."""
        return self.snapshot.health()

    def measure(self, observer: Observer) -> None:
        """Set the gauges of the pairs, which only the ledger's writer does. Called from other threads."""
        if self.snapshot.role == ACTIVE:
            gauges.measure(observer, self.snapshot.params, self.snapshot.states)

    @contextmanager
    def reading_ledger(self) -> Iterator[history.Query]:
        """Ask the ledger from another thread, beside its writer; HTTP status 503 where it cannot be read."""
        try:
            with reading(self._ledger.path) as query:
                yield query
        except sqlite3.Error as error:
            raise fastapi.HTTPException(503, f"the ledger cannot be read now ({error}); try again") from error

    def trace_ids(self, orders: Sequence[OrderEvent]) -> Mapping[str, str]:
        """The trace of the tick that decided each order, by the order's id. Called from other threads."""
        if not orders:
            return {}
        with self.reading_ledger() as query:
            return history.trace_ids(query, [order.client_id for order in orders])

    def latency_counts(self) -> dict[str, Any]:
        """Time from the socket to the decision in buckets, whole and per hop. Called from other threads."""
        return self._reckoning.latency.counts()

    def _stand_by(self, timeout_s: float) -> int:
        if self._become_active():
            return 0
        now_ns = self._clock()
        if now_ns - self._shown_at_ns >= STANDBY_INTERVAL_NS:
            self._show_standby(now_ns)
        time.sleep(timeout_s)
        return 0

    def _show_standby(self, now_ns: int) -> None:
        """Show the ledger as another replica has committed it."""
        self._shown_at_ns = now_ns
        self._observer.gauge("crypto_bot_lease_epoch", 0)
        snapshot, ledger = self.snapshot, self._ledger
        snapshot.holder, snapshot.epoch, _ = ledger.holder()
        states = ledger.states() if ledger.readable() else {}
        snapshot.show(self._params, {pair: states.get(pair) or initial_state(params) for pair, params in self._params.items()})
        snapshot.orders = tuple(ledger.recent_orders(RECENT_ORDERS)) if ledger.readable() else ()
        snapshot.role = STANDBY

    @cached_property
    def _producer(self) -> Producer:
        """One for life, however often `start` is tried: what the ledger has handed over is with it."""
        return self._transport.producer()

    def _route(self, record: Record, now_ns: int) -> None:
        """Hand a record to the engine; what cannot be used becomes a dead letter."""
        self._offsets.read(record)
        try:
            message = self._decoders[record.topic].decode(record.value)
            if record.topic == HEDGE_RATIOS:
                if not self._engine.take_hedge(Held(message, record.partition, record.offset, record.trace.with_time(now_ns), record.value)):
                    self._offsets.leave_for_others(where(message).session, record.partition, record.offset)
            elif record.topic == COMMANDS:
                self._engine.take_command(message)
            elif isinstance(message, RiskHeartbeat):
                self._unusable.count_heartbeat()
                return
            elif self._engine.take_signal(message):
                self._batch.signals.append((message, record.value))
            self._unusable.count(bad=False)
        except InvalidRecord as error:
            self._set_aside(record, error)

    def _set_aside(self, record: Record, error: InvalidRecord) -> None:
        self._unusable.count(bad=True)
        self._batch.dead_letters.append(Output(DEAD_LETTERS, record.topic.name, dead_letter(NAME, record, error)))
        self._observer.count("crypto_bot_dead_letters_total", source=record.topic.name, reason=error.reason)

    def _set_aside_refused(self) -> None:
        for pair, held, error in self._engine.refused:
            self._set_aside(Record(HEDGE_RATIOS, held.partition, held.offset, pair, held.value), error)
        self._engine.refused.clear()

    def _guard_exposure(self) -> None:
        """Take no new exposure while too much of what is read cannot be used, and say so."""
        stopped = self._unusable.exceeded
        if stopped != bool(self.snapshot.exposure_stop):
            found = self._unusable.describe()
            self._observer.log("ERROR" if stopped else "WARNING", "no new exposure" if stopped else "new exposure is allowed again", reason=found)
            self._limit_exposure(found if stopped else "")

    def _limit_exposure(self, reason: str) -> None:
        self._engine.limit_exposure(reason)
        self._observer.gauge("crypto_bot_exposure_stopped", bool(reason))
        self.snapshot.exposure_stop = reason and f"no new exposure: {reason}; see topic dead-letters"

    def _commit(self) -> None:
        """Commit the turn, if anything happened in it; idle ticks are decided again after a restart.

        Signals go with what happens next: until then their topic's stored position stays before them.
        """
        batch, engine = self._batch, self._engine
        if not (engine.urgent or batch.dead_letters):
            return
        began_ns = self._clock()
        batch.outputs = [(outputs, trace.with_time(began_ns)) for outputs, trace in engine.outputs]
        batch.positions = self._offsets.to_store(engine.held_from(), engine.session)
        batch.states = engine.taken()
        acknowledged = self._producer.acknowledged()
        self._ledger.commit(batch, acknowledged=acknowledged)
        self._uncleared &= not acknowledged
        self._batch = Batch()
        self._unpublished = True
        self._observer.observe("crypto_bot_ledger_commit_seconds", (self._clock() - began_ns) / NANOSECONDS)
        for outputs, trace in batch.outputs:
            report(self._observer, outputs, trace.id)
            self._orders.update((output.client_id, output) for output in outputs if isinstance(output, OrderEvent))

    def _publish(self) -> None:
        if not self._unpublished:
            return
        published = self._ledger.publish(self._producer)
        self._unpublished, self._uncleared = False, True
        self._observer.count("crypto_bot_records_produced_total", published, topic=EXECUTIONS.name)

    def _keep_books(self, records: Sequence[Record]) -> None:
        """Tell ingestion what is decided, and people how much and how long it took: at once when idle, else now and then."""
        now_ns = self._clock()
        self._reckoning.note(records, self._engine, now_ns)
        self._progress.update(self._engine.decided)
        self._engine.decided.clear()
        if not records or self._reckoning.waiting >= PROGRESS_TICKS or now_ns - self._progress_at_ns >= PROGRESS_INTERVAL_NS:
            self._send_progress(now_ns)
            self._reckoning.settle(self._engine)

    def _send_progress(self, now_ns: int) -> None:
        if self._progress:
            self._producer.send(PROGRESS, next(iter(self._progress)), encode(Progress(decided=self._progress)))
            self._observer.count("crypto_bot_records_produced_total", topic=PROGRESS.name)
            self._progress = {}
        self._progress_at_ns = now_ns

    def _patience_s(self, timeout_s: float) -> float:
        """Wait no longer than progress or a live hold may."""
        now_ns = self._clock()
        waits = [timeout_s]
        if self._progress:
            waits.append(max(0, self._progress_at_ns + PROGRESS_INTERVAL_NS - now_ns) / NANOSECONDS)
        if (left_ns := self._engine.patience_ns(now_ns)) is not None:
            waits.append(left_ns / NANOSECONDS)
        return min(waits)

    def _rest_or_resume(self) -> None:
        pause, resume = self._brake.change(self._engine.held_from())
        if pause and self._consumer:
            self._consumer.pause(HEDGE_RATIOS, pause)
        if resume and self._consumer:
            self._consumer.resume(HEDGE_RATIOS, resume)

    def _take_snapshot(self) -> None:
        self.snapshot.show(self._params, self._engine.states)
        self.snapshot.held = self._engine.held()

    def _now_and_then(self, now_ns: int, *, idle: bool) -> None:
        """Empty the outbox, which waits for the disk and so is put off while there is something to do; show the pairs."""
        due = self._uncleared and now_ns - self._cleared_at_ns >= (CLEAR_INTERVAL_NS if idle else CLEAR_LATEST_NS)
        if due and self._ledger.clear_published(self._producer):
            self._uncleared, self._cleared_at_ns = False, now_ns
        if now_ns - self._shown_at_ns >= SHOW_INTERVAL_NS:
            self._shown_at_ns = now_ns
            self._show()

    def _show(self) -> None:
        engine, consumer = self._engine, self._consumer
        for pair, state in engine.states.items():
            self._observer.pair_state(pair, views.summary(engine.params[pair], state))
        self._observer.gauge("crypto_bot_held_records", sum(self.snapshot.held.values()))
        self._observer.gauge("crypto_bot_consumer_lag_records", consumer.lag() if consumer else 0)
        self._orders = dict(list(self._orders.items())[-RECENT_ORDERS:])
        self.snapshot.orders = tuple(self._orders.values())
        self.snapshot.latency_ms = self._reckoning.latency.end_to_end.summary()


def build(settings: ExecutionSettings, context: Context) -> ExecutionService:
    """The service over the ledger in DATA_DIR; raises ConfigurationError when that cannot be used."""
    folder = Path(settings.data_dir)
    require_writable(folder)
    ledger = Ledger(folder / LEDGER_FILE, stamp=settings.stamp, standby=True)
    symbols = sorted({symbol for pair in settings.trading_pairs() for symbol in (pair.y, pair.x)})

    def ask_venue() -> Mapping[str, SymbolRules]:
        client = ExchangeClient(settings.binance_market, settings.rest_url)
        try:
            return client.rules(symbols)
        finally:
            client.close()

    return ExecutionService(settings, context.transport, context.observer, context.clock, ask_venue, ledger)


def _require_no_orphans(params: Mapping[str, Params], states: Mapping[str, PairState]) -> None:
    """Refuse to leave an open position alone because its pair is no longer configured."""
    orphans = [pair for pair, state in states.items() if pair not in params and not state.account.flat]
    if orphans:
        raise ConfigurationError([f"PAIRS: the ledger holds an open position of {pair}; keep the pair configured until it is closed" for pair in orphans])
