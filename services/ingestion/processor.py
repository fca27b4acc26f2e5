"""The ingestion service: frames in, ticks and bar closes out, bounded by what execution has decided."""

import math
from collections.abc import Mapping
from typing import Any

from common.codec import Decoder, decoder_of, encode
from common.dead_letters import dead_letter
from common.errors import InvalidRecord
from common.market import NANOSECONDS
from common.messages import BarClose, Feed, Progress
from common.processor import Consumer, Health, Observer, Position, Producer, Transport, WallClock
from common.settings import Market
from common.topics import DEAD_LETTERS, PROGRESS, TICKS
from common.trace import Trace
from services.ingestion.bars import BarParams
from services.ingestion.ingestor import Block, Ingestor
from services.ingestion.intake import SERVICE, IntakeParams
from services.ingestion.recovery import take_over
from services.ingestion.settings import Conflate, IngestionSettings
from services.ingestion.source import Channel, FrameSource

#: Frames handled per turn. Live, where each counts, few: the first of a burst is on its way while the others are read, which
#: cost less at once.
_BATCH, _FIRST_BATCH, _BURST_BATCH = 500, 16, 128
#: Longest wait for frames within a turn when something may fall due, and when progress lets a tick go that is held, seconds.
_LIVE_WAIT_S, _HELD_WAIT_S = 0.01, 0.001
_BLOCKED_WAIT_S = 0.005
#: A market channel that stays away is given up after this, when the public one cannot go on either.
_MARKET_PATIENCE_NS = 10 * NANOSECONDS
_MOST_NOTICES = 20
#: How often gaps of a kind of stream are logged; a feed that is overloaded has thousands.
_GAP_LOG_INTERVAL_NS = 60 * NANOSECONDS


class IngestionService:
    """Implements `common.processor.Service`."""

    name = SERVICE
    #: How long books and status may go unreported while frames come: a report costs as much as handling some.
    report_interval_ns = NANOSECONDS // 20

    def __init__(self, settings: IngestionSettings, transport: Transport, observer: Observer, clock: WallClock, source: FrameSource) -> None:
        self._settings = settings
        self._transport = transport
        self._observer = observer
        self._clock = clock
        self._source = source
        self._live = settings.feed_in_use is Feed.LIVE
        self._batches = (_FIRST_BATCH, _BURST_BATCH) if self._live and settings.conflate is Conflate.BEHIND else (_BATCH, _BATCH)
        self._most = self._batches[0]
        self._progress_decoder: Decoder[Progress] = decoder_of(PROGRESS)
        self._producer: Producer | None = None
        self._progress: Consumer | None = None
        self._ingestor: Ingestor | None = None
        self._reported: dict[tuple[str, str, str], int] = {}
        #: By kind of stream: when a gap was logged last, and how many were not since.
        self._gaps: dict[str, tuple[int, int]] = {}
        self._details: Mapping[str, Any] = {}
        self._waiting_for_market_since_ns = 0
        self._epoch = 0
        self._reported_at_ns = 0

    def start(self) -> None:
        """Take over the log, then open the feed."""
        self._producer = self._producer or self._transport.producer()
        pairs = self._settings.trading_pairs()
        log = take_over(self._transport, self._producer, pairs, self._settings.bar_interval_ns)
        if self._progress is None:
            ends = self._transport.end_offsets(PROGRESS)
            self._progress = self._transport.reader([Position(PROGRESS, partition, offset) for partition, offset in ends.items()])
        self._epoch = log.epoch
        self._reported.clear()
        self._ingestor = Ingestor(self._intake_params(), self._bar_params(), log)
        self._publish(self._ingestor, self._producer)
        self._observer.log("INFO", "took over the log", epoch=log.epoch, session=log.session, open_bar=self._ingestor.bars.open_bar)
        if log.other_pairs:
            self._observer.log("WARNING", "the log is of other PAIRS: its session is over, pairs warm up again in a new one", session=log.session)
        self._source.start()
        self._report(self._ingestor)

    def turn(self, timeout_s: float) -> int:
        """Hear of progress, take in frames, publish what comes of them."""
        ingestor, producer = self._running()
        self._hear(0.0)
        ingestor.bars.release(self._clock())
        self._go_on(ingestor, producer)
        read_from_ns = self._clock()
        frames = self._source.read(self._open_channels(ingestor), self._most, self._wait_s(ingestor, timeout_s))
        for frame in frames:
            ingestor.intake.read(frame)
        self._go_on(ingestor, producer)
        more_may_wait = len(frames) == self._most
        self._most = self._batches[more_may_wait]
        if self._live and not more_may_wait:
            ingestor.on_timer(read_from_ns)
        ingestor.bars.release(self._clock())
        self._publish(ingestor, producer)
        self._source.settle(ingestor.intake.unsettled)
        self._watch_market(ingestor)
        if frames:
            self._observer.count("crypto_bot_records_consumed_total", len(frames), topic="frames")
            self._observer.observe("crypto_bot_input_age_seconds", max(0, self._clock() - frames[0].read_at_ns) / NANOSECONDS)
        elif ingestor.block is Block.LEAD:
            self._hear(min(timeout_s, _BLOCKED_WAIT_S))
        if not frames or self._clock() - self._reported_at_ns >= self.report_interval_ns:
            self._report(ingestor)
        return len(frames)

    def stop(self) -> None:
        """Close the feed, publish what is in hand."""
        self._source.stop()
        if self._ingestor is not None and self._producer is not None:
            self._ingestor.bars.flush(self._clock())
            self._publish(self._ingestor, self._producer)
        if self._producer is not None:
            self._producer.close()
        if self._progress is not None:
            self._progress.close()

    def health(self) -> Health:
        """Ready while the feed delivers, and after a recording has ended."""
        status = self._source.status()
        details = {**self._details, "connected": status["connected"], "streams": status["streams"]}
        if details.get("ended"):
            return Health(ready=True, reason="the recording has ended", details=details)
        waiting_for = str(status["waiting_for"])
        ready = bool(status["connected"]) and not waiting_for
        return Health(ready=ready, reason=waiting_for, details=details)

    def measure(self, observer: Observer) -> None:
        """Set what only wall time moves. Called from other threads."""
        observer.gauge("crypto_bot_feed_ended", bool(self._details.get("ended")))
        for name, stream in self._source.status()["streams"].items():
            symbol, _, kind = name.partition("@")
            if kind == "bookTicker":
                age_ms = stream["last_event_age_ms"]
                observer.gauge("crypto_bot_book_age_seconds", math.inf if age_ms is None else age_ms / 1e3, symbol=symbol.upper())

    def _running(self) -> tuple[Ingestor, Producer]:
        if self._ingestor is None or self._producer is None:
            raise RuntimeError("start() comes before turn()")
        return self._ingestor, self._producer

    def _intake_params(self) -> IntakeParams:
        settings = self._settings
        pairs = settings.trading_pairs()
        weights = {symbol: sum(symbol in (pair.y, pair.x) for pair in pairs) for symbol in settings.symbols}
        return IntakeParams(settings.binance_market, settings.feed_in_use, settings.bar_interval_ns, weights)

    def _bar_params(self) -> BarParams:
        settings = self._settings
        return BarParams(
            pairs=settings.trading_pairs(),
            bar_interval_ns=settings.bar_interval_ns,
            max_leg_age_ns=settings.max_leg_age_ns,
            feed=settings.feed_in_use,
            conflate=settings.conflate,
            behind_after_ns=settings.behind_after_ns,
            lead_ticks=settings.live_lead_ticks if self._live else settings.lead_ticks,
        )

    def _open_channels(self, ingestor: Ingestor) -> list[Channel]:
        """Market events are always welcome; books wait in their socket while earlier ones are blocked."""
        channels = [Channel.MARKET] if self._settings.binance_market is Market.FUTURES else []
        return channels if ingestor.block else [*channels, Channel.PUBLIC]

    def _wait_s(self, ingestor: Ingestor, timeout_s: float) -> float:
        if ingestor.block is Block.LEAD:
            return 0.0
        if ingestor.block is Block.MARKET or self._live:
            return min(timeout_s, _HELD_WAIT_S if ingestor.bars.holds_until_progress(self._clock()) else _LIVE_WAIT_S)
        return timeout_s

    def _hear(self, timeout_s: float) -> None:
        """Read what execution has decided."""
        ingestor, _ = self._running()
        records = self._progress.poll(timeout_s) if self._progress is not None else ()
        for record in records:
            try:
                told = self._progress_decoder.decode(record.value)
            except InvalidRecord as error:
                ingestor.intake.letters.append(dead_letter(SERVICE, record, error))
                continue
            for pair, seq in told.decided.items():
                ingestor.bars.decided(pair, seq)

    def _go_on(self, ingestor: Ingestor, producer: Producer) -> None:
        more = True
        while more:
            more = ingestor.advance(self._clock())
            self._publish(ingestor, producer)

    def _publish(self, ingestor: Ingestor, producer: Producer) -> None:
        """Send what is due; what cannot be sent stays due."""
        outputs, letters = ingestor.bars.outputs, ingestor.intake.letters
        due = len(outputs)
        while outputs:
            emission = outputs[0]
            trace = Trace.begin(emission.read_at_ns)
            producer.send(TICKS, emission.key, encode(emission.message), trace=trace.with_time(self._clock()))
            outputs.popleft()
            if isinstance(emission.message, BarClose):
                close = emission.message
                fields = {"pair": close.pair, "bar": close.bar, "seq": close.seq, "status": close.status.value}
                self._observer.log("DEBUG", "bar closed", **fields, trace_id=trace.id)
            if emission.barrier:
                producer.flush()
        if due:
            self._observer.count("crypto_bot_records_produced_total", due, topic=TICKS.name)
        while letters:
            letter = letters[0]
            producer.send(DEAD_LETTERS, letter.source, encode(letter))
            letters.popleft()
            self._observer.count("crypto_bot_dead_letters_total", source=letter.source, reason=letter.reason)

    def _watch_market(self, ingestor: Ingestor) -> None:
        """Give the market channel up for a bar when it stays away and books cannot go on without it."""
        if ingestor.block is not Block.MARKET:
            self._waiting_for_market_since_ns = 0
            return
        now_ns = self._clock()
        self._waiting_for_market_since_ns = self._waiting_for_market_since_ns or now_ns
        if now_ns - self._waiting_for_market_since_ns > _MARKET_PATIENCE_NS and self._source.status()["stalled"]:
            self._observer.log("WARNING", "bar closed without the market channel", bar=ingestor.bars.open_bar)
            ingestor.excuse_market()
            self._waiting_for_market_since_ns = 0

    def _report(self, ingestor: Ingestor) -> None:
        self._reported_at_ns = now_ns = self._clock()
        behind = ingestor.bars.pairs_behind(now_ns)
        books, status = ingestor.accounting, self._source.status()
        self._count_new("crypto_bot_frames_total", "outcome", {"tick": books.ticks, "conflated": books.conflated, "dead-letter": books.dead_letters})
        self._count_new("crypto_bot_frames_total", "outcome", {"ignored": books.ignored.total()})
        self._count_new("crypto_bot_frames_ignored_total", "reason", books.ignored)
        self._count_new("crypto_bot_bars_closed_total", "status", books.bars)
        self._count_new("crypto_bot_feed_reconnects_total", "channel", status["reconnects"])
        self._observer.gauge("crypto_bot_feed_connected", float(status["connected"]))
        self._observer.gauge("crypto_bot_frames_waiting", status["queued"] + len(ingestor.intake.ready))
        self._observer.gauge("crypto_bot_pairs_behind", behind)
        self._observer.gauge("crypto_bot_session", ingestor.bars.session)
        self._tell(ingestor)
        self._details = {
            **books.as_dict(),
            "reconnects": sum(status["reconnects"].values()),
            "feed": self._settings.feed_in_use.value,
            "session": ingestor.bars.session,
            "epoch": self._epoch,
            "open_bar": ingestor.bars.open_bar,
            "blocked": ingestor.block.value,
            "pairs_behind": behind,
            "ended": ingestor.ended,
        }

    def _tell(self, ingestor: Ingestor) -> None:
        notices = ingestor.intake.notices
        for number, (event, fields) in enumerate(notices):
            if event == "feed gap":
                self._tell_gap(str(fields["stream"]), fields)
            elif number < _MOST_NOTICES:
                self._observer.log("WARNING", event, **fields)
        notices.clear()

    def _tell_gap(self, stream: str, fields: Mapping[str, Any]) -> None:
        """Count every gap; log the first of a kind of stream, and then once a minute how many there were besides."""
        self._observer.count("crypto_bot_feed_gaps_total", stream=stream)
        now_ns = self._clock()
        logged_at_ns, untold = self._gaps.get(stream, (0, 0))
        if not logged_at_ns or now_ns - logged_at_ns >= _GAP_LOG_INTERVAL_NS:
            self._observer.log("WARNING", "feed gap", **fields, untold=untold)
            self._gaps[stream] = now_ns, 0
        else:
            self._gaps[stream] = logged_at_ns, untold + 1

    def _count_new(self, name: str, label: str, totals: Mapping[str, int]) -> None:
        """Add to a counter what its total has grown by."""
        for value, total in totals.items():
            key = name, label, value
            grown = total - self._reported.get(key, 0)
            if grown:
                self._reported[key] = total
                self._observer.count(name, grown, **{label: value})
