"""Messages to bytes and back."""

from typing import Any, Generic, TypeVar

import msgspec

from common import messages as m
from common.errors import InvalidRecord
from common.topics import (
    COMMANDS,
    DEAD_LETTERS,
    EXECUTIONS,
    GARCH_STATE,
    HEDGE_RATIO_CLOSES,
    HEDGE_RATIOS,
    KALMAN_STATE,
    PROGRESS,
    RISK_SIGNALS,
    TICKS,
    VOLATILITY_THRESHOLDS,
    Topic,
)

T = TypeVar("T")

#: What each topic may carry: the one place that ties messages to topics.
MESSAGES_OF_TOPIC: dict[Topic, Any] = {
    TICKS: m.TickMessage,
    HEDGE_RATIOS: m.HedgeMessage,
    HEDGE_RATIO_CLOSES: m.HedgeRatioClose,
    VOLATILITY_THRESHOLDS: m.Thresholds,
    RISK_SIGNALS: m.RiskMessage,
    EXECUTIONS: m.ExecutionMessage,
    PROGRESS: m.Progress,
    COMMANDS: m.Command,
    KALMAN_STATE: m.StateSnapshot,
    GARCH_STATE: m.StateSnapshot,
    DEAD_LETTERS: m.LetterMessage,
}

_ENCODER = msgspec.json.Encoder()


def encode(message: m.Message) -> bytes:
    """A message as JSON."""
    return _ENCODER.encode(message)


class Decoder(Generic[T]):
    """Reads the messages of one topic."""

    def __init__(self, message_type: Any) -> None:
        self._decoder = msgspec.json.Decoder(message_type)

    def decode(self, value: bytes) -> T:
        """Raises InvalidRecord when the bytes are no message of this topic."""
        try:
            message: T = self._decoder.decode(value)
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidRecord("undecodable", str(error)) from error
        return message


def decoder_of(topic: Topic) -> Decoder[Any]:
    """A decoder for the messages that a topic may carry."""
    return Decoder(MESSAGES_OF_TOPIC[topic])
