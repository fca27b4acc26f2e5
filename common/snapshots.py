"""A model's states in a compacted topic, sealed so that a damaged or foreign one is never restored."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from common.codec import Decoder, decoder_of
from common.errors import InvalidRecord, TransportError
from common.messages import StateSnapshot
from common.processor import Model, Position, Record, Transport
from common.topics import Topic

S = TypeVar("S", bound=msgspec.Struct)

#: A topic whose end is not reached after this many empty polls of a second cannot be read.
PATIENCE_POLLS = 30


class StateTopic(Generic[S]):
    """Reads back what a predecessor left."""

    def __init__(self, model: Model[S], topic: Topic, transport: Transport) -> None:
        self.topic = topic
        self._model = model
        self._transport = transport
        self._decoder: Decoder[StateSnapshot] = decoder_of(topic)

    def newest(self, partitions: Sequence[int]) -> dict[str, Record]:
        """The last record of each pair in these partitions; one without a value was taken back."""
        newest = {record.key: record for record in self._read_to_end(partitions)}
        return {pair: record for pair, record in newest.items() if record.value}

    def restore(self, pair: str, record: Record, input_end: int) -> tuple[S, StateSnapshot]:
        """The state and the snapshot that held it; raises InvalidRecord when it cannot be relied upon.

        `input_end` is the end of the input's partition: a snapshot from beyond it belongs to a topic that is gone.
        """
        snapshot = self._decoder.decode(record.value)
        if snapshot.offset >= input_end:
            raise InvalidRecord("snapshot-foreign", f"{pair}: its last input is {snapshot.offset}, but the input ends at {input_end}; was the topic made anew?")
        return unseal(self._model, pair, snapshot), snapshot

    def passed_over(self, partition: int, since: Mapping[str, int]) -> Iterator[StateSnapshot]:
        """The newest snapshots of pairs whose inputs were passed over since an offset, saying so; one that says so already stands."""
        newest = self.newest([partition])
        for pair, offset in since.items():
            record = newest.get(pair)
            try:
                snapshot = self._decoder.decode(record.value) if record else seal(self._model, pair, -1, self._model.initial(pair))
            except InvalidRecord:
                continue  # Whoever has the pair next refuses it by name.
            if snapshot.unanswered_from < 0:
                yield msgspec.structs.replace(snapshot, unanswered_from=offset)

    def _read_to_end(self, partitions: Sequence[int]) -> Iterator[Record]:
        reader = self._transport.reader([Position(self.topic, number, 0) for number in partitions])
        patience = PATIENCE_POLLS
        try:
            while reader.lag() and patience:
                records = reader.poll(1.0)
                patience = PATIENCE_POLLS if records else patience - 1
                yield from records
        finally:
            reader.close()
        if not patience:
            raise TransportError(f"{self.topic} says it has more records than can be read; the states cannot be restored")


def seal(model: Model[S], pair: str, offset: int, state: S, *, missing: str = "") -> StateSnapshot:
    """The state after the input at `offset`; `missing` names inputs that it lacks."""
    text = msgspec.json.encode(state).decode()
    return StateSnapshot(pair=pair, model=model.name, schema=model.schema, offset=offset, checksum=_checksum(text), state=text, missing=missing)


def unseal(model: Model[S], pair: str, snapshot: StateSnapshot) -> S:
    """The state within; raises InvalidRecord when it is damaged or belongs to another pair, model or layout."""
    mine, theirs = (pair, model.name, model.schema), (snapshot.pair, snapshot.model, snapshot.schema)
    if mine != theirs:
        raise InvalidRecord("snapshot-foreign", f"belongs to (pair, model, schema) {theirs}, not {mine}")
    if snapshot.checksum != _checksum(snapshot.state):
        raise InvalidRecord("snapshot-damaged", f"checksum of {pair}'s state does not match")
    try:
        return msgspec.json.decode(snapshot.state, type=model.state_type)
    except msgspec.DecodeError as error:
        raise InvalidRecord("snapshot-unreadable", f"{pair}: {error}") from error


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
