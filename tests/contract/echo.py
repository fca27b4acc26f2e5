"""A model that answers each tick with how many it has seen, and the records to feed it."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from common.codec import encode
from common.errors import InvalidRecord
from common.messages import HedgeEstimate, HedgeRatio, Message, ModelStatus, Quote, Tick, WriterEpoch

PAIRS = ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT", "BNBUSDT-BTCUSDT", "XRPUSDT-BTCUSDT", "ADAUSDT-BTCUSDT")


class EchoState(msgspec.Struct, frozen=True):
    """How many ticks were seen, the last one's number, the newest writer epoch and the session."""

    ticks: int = 0
    seq: int = -1
    epoch: int = 0
    session: int = -1


class EchoModel:
    """Counts ticks; refuses those without a bid, drops those seen before."""

    name = "echo"
    schema = 1
    state_type = EchoState

    def initial(self, pair: str) -> EchoState:
        del pair
        return EchoState()

    def step(self, state: EchoState, message: Message) -> tuple[EchoState, Sequence[Message]]:
        if isinstance(message, WriterEpoch):
            return msgspec.structs.replace(state, epoch=max(state.epoch, message.epoch)), ()
        assert isinstance(message, Tick)
        if not message.y.bid:
            raise InvalidRecord("no-bid", f"seq {message.seq}")
        state = EchoState(ticks=state.ticks + 1, seq=message.seq, epoch=state.epoch, session=message.session)
        seen = HedgeEstimate(alpha=float(state.ticks), beta=1.0, innovation=0.0, parameter_variance=0.0, alpha_variance=0.0, beta_variance=0.0)
        return state, (HedgeRatio(tick=message, status=ModelStatus.READY, estimate=seen),)

    def drop_reason(self, state: EchoState, message: Message) -> str | None:
        if not isinstance(message, Tick):
            return None
        if message.epoch < state.epoch:
            return "old-epoch"
        return "seen-before" if message.seq <= state.seq else None

    def summary(self, state: EchoState) -> dict[str, int]:
        return {"ticks": state.ticks}


def tick(pair: str, seq: int, *, bid: int = 100, epoch: int = 1, session: int = 1) -> bytes:
    """A tick as it travels."""
    quote = Quote(bid=Decimal(bid), bid_size=Decimal(1), ask=Decimal(101), ask_size=Decimal(1), event_time_ns=seq)
    return encode(Tick(pair=pair, seq=seq, epoch=epoch, session=session, bar=seq // 100, event_time_ns=seq, y=quote, x=quote))
