"""Follows what execution decides, whatever happens to the broker."""

import threading

from common.codec import decoder_of
from common.errors import CryptoBotError, InvalidRecord
from common.messages import Mark, Progress, RiskSignal
from common.processor import Position, Record, Transport
from common.topics import EXECUTIONS, PROGRESS, RISK_SIGNALS


class DecisionWatch:
    """Reads `executions`, `progress` and `risk-signals` in a thread of its own."""

    def __init__(self, transport: Transport, pairs: tuple[str, ...]) -> None:
        self._pairs = frozenset(pairs)
        self._decided: dict[str, int] = {}
        self._marks: set[tuple[str, int, int]] = set()
        self._ended: set[tuple[str, str]] = set()
        self._decoders = {topic: decoder_of(topic) for topic in (EXECUTIONS, PROGRESS, RISK_SIGNALS)}
        self._reader = transport.reader([Position(topic, number, 0) for topic in self._decoders for number in range(transport.partitions(topic))])
        self._stop = threading.Event()
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    @property
    def decided(self) -> int:
        """The sum over the pairs of the last seq that was decided: grows while execution decides."""
        return sum(self._decided.values())

    @property
    def bars(self) -> int:
        """Marks so far, each once."""
        return len(self._marks)

    @property
    def ended(self) -> bool:
        """Whether the recording's end was marked, and judged by risk-manager, for every pair."""
        return len(self._ended) == 2 * len(self._pairs)

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(5)
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                records = self._reader.poll(0.1)
            except CryptoBotError as error:
                self.problem = f"the watcher lost its place: {error}"
                return
            for record in records:
                self._add(record)

    def _add(self, record: Record) -> None:
        try:
            message = self._decoders[record.topic].decode(record.value)
        except InvalidRecord as error:
            self.problem = f"{record.topic}/{record.partition}/{record.offset} cannot be read: {error}"
            return
        match message:
            case Progress():
                for pair, seq in message.decided.items():
                    self._decided[pair] = max(seq, self._decided.get(pair, 0))
            case Mark():
                self._marks.add((message.pair, message.session, message.bar))
                self._decided[message.pair] = max(message.seq, self._decided.get(message.pair, 0))
                if message.end:
                    self._ended.add(("mark", message.pair))
            case RiskSignal() if message.thresholds.end:
                self._ended.add(("signal", message.pair))
            case _:
                pass
