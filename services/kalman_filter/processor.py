"""The filter as a model of one pair: ticks and bar closes in, hedge ratios out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED, bar_end_ns
from common.messages import BarClose, BarStatus, Feed, HedgeEstimate, HedgeRatio, HedgeRatioClose, Message, ModelStatus, Quote, Tick, WriterEpoch
from services.kalman_filter.filter import FilterParameters, FilterState, WarmUp, evaluate, first_state, log_mid, observe, predict, update


class KalmanState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pair after its last input; -1 stands for nothing yet.

    `bar` is the last closed bar, `last_tick` the newest tick of the bar that is open, `warm_up` the bars gathered while
    there is no `filter`, `reason` why there is none.
    """

    pair: str
    epoch: int = -1
    session: int = -1
    last_seq: int = -1
    bar: int = -1
    feed: Feed = Feed.RECORDING
    last_tick: Tick | None = None
    warm_up: WarmUp = WarmUp()
    filter: FilterState | None = None
    reason: str = "no bars yet"


class KalmanModel:
    """Answers each tick with a HedgeRatio and each bar close with a HedgeRatioClose.

    Parameters
    ----------
    parameters
        Dials of the filter.
    bar_interval_ns
        Length of a bar, for the end times of bars that have to be filled in.

    """

    name = "kalman"
    schema = 1
    state_type = KalmanState

    def __init__(self, parameters: FilterParameters, bar_interval_ns: int) -> None:
        self._parameters = parameters
        self._bar_interval_ns = bar_interval_ns

    def initial(self, pair: str) -> KalmanState:
        """Return the state before the first input."""
        return KalmanState(pair=pair)

    def drop_reason(self, state: KalmanState, message: Message) -> str | None:
        """Why an input must not be applied: seen before, from an older writer, or of a bar that is closed."""
        if not isinstance(message, Tick | BarClose):
            return None
        if message.epoch < state.epoch:
            return "old-epoch"
        if message.seq <= state.last_seq:
            return "seen"
        if message.session < state.session:
            return "old-session"
        if message.session == state.session and message.bar <= state.bar:
            return "closed-bar"
        return None

    def step(self, state: KalmanState, message: Message) -> tuple[KalmanState, Sequence[Message]]:
        """Apply one record of `ticks`.

        Bars that the input skips are answered first, as MISSING, with the seq of the record that skipped them.

        Raises
        ------
        InvalidRecord
            When a price or bar number cannot be right, or the message is none of `ticks`; the state is as before.

        """
        if self.drop_reason(state, message):
            return state, ()
        match message:
            case WriterEpoch():
                return msgspec.structs.replace(state, epoch=max(state.epoch, message.epoch)), ()
            case Tick():
                return self._on_tick(state, message)
            case BarClose():
                return self._on_close(state, message)
            case _:
                raise InvalidRecord("unexpected-message", f"{type(message).__name__} does not belong in ticks")

    def summary(self, state: KalmanState) -> Mapping[str, Any]:
        """Return what people want to see of a pair."""
        values: dict[str, Any] = {"bar": state.bar, "status": status_of(state), "reason": state.reason, "warm_up_bars": state.warm_up.bars}
        if state.filter:
            values |= {"alpha": state.filter.alpha, "beta": state.filter.beta, "resets": state.filter.resets}
            values |= {"beta_deviation": math.sqrt(state.filter.beta_variance)}
            if state.last_tick:
                prediction = evaluate(state.filter, *_log_prices(state.last_tick))
                scale = (prediction.parameter_variance + state.filter.noise_variance) ** 0.5
                values |= {"innovation": prediction.innovation, "innovation_z": prediction.innovation / scale, "innovation_bps": prediction.innovation * 1e4}
        return values

    def _on_tick(self, state: KalmanState, tick: Tick) -> tuple[KalmanState, Sequence[Message]]:
        x, y = _log_prices(tick)
        opened, filled_in = self._open(state, tick, state.feed)
        moved = msgspec.structs.replace(opened, epoch=tick.epoch, last_seq=tick.seq, last_tick=tick)
        estimate = _estimate(moved.filter, x, y) if moved.filter else None
        answer = HedgeRatio(tick=tick, status=status_of(moved), estimate=estimate)
        return moved, (*filled_in, answer) if filled_in else (answer,)

    def _on_close(self, state: KalmanState, close: BarClose) -> tuple[KalmanState, Sequence[Message]]:
        opened, filled_in = self._open(state, close, close.feed)
        moved, answer = _close(self._parameters, opened, close)
        return msgspec.structs.replace(moved, epoch=close.epoch, last_seq=close.seq, feed=close.feed), (*filled_in, answer)

    def _open(self, state: KalmanState, message: Tick | BarClose, feed: Feed) -> tuple[KalmanState, list[HedgeRatioClose]]:
        """Bring the state to the bar of `message`: a new session starts afresh, skipped bars are filled in."""
        if message.session > state.session:
            state = KalmanState(pair=state.pair, session=message.session, bar=message.bar - 1, feed=feed)
        if message.bar - state.bar > MOST_BARS_SKIPPED:
            raise InvalidRecord("bar-jump", f"bar {message.bar} after bar {state.bar} skips more than {MOST_BARS_SKIPPED} bars")
        answers = []
        for bar in range(state.bar + 1, message.bar):
            missing = BarClose(
                pair=message.pair,
                seq=message.seq,
                epoch=message.epoch,
                session=message.session,
                bar=bar,
                end_time_ns=bar_end_ns(bar, self._bar_interval_ns),
                status=BarStatus.MISSING,
                feed=feed,
            )
            state, answer = _close(self._parameters, msgspec.structs.replace(state, last_tick=None), missing)
            answers.append(answer)
        return state, answers


def status_of(state: KalmanState) -> ModelStatus:
    """Whether the filter's answers may be acted upon."""
    if state.filter is None:
        return ModelStatus.WARMING
    return ModelStatus.DEGRADED if state.filter.degraded else ModelStatus.READY


def _close(parameters: FilterParameters, state: KalmanState, close: BarClose) -> tuple[KalmanState, HedgeRatioClose]:
    """Close a bar: a FRESH one moves the state with its last tick, any other only lets uncertainty grow."""
    tick = state.last_tick
    fresh = tick is not None and close.status is BarStatus.FRESH
    x, y = _log_prices(tick) if tick is not None and fresh else (0.0, 0.0)
    estimate = _estimate(state.filter, x, y) if state.filter and fresh else None
    if state.filter:
        moved = msgspec.structs.replace(state, filter=update(state.filter, x, y) if fresh else predict(state.filter))
    else:
        moved = _warm_up(parameters, state, x, y) if fresh else state
    moved = msgspec.structs.replace(moved, bar=close.bar, last_tick=None)
    status = status_of(moved) if state.filter else ModelStatus.WARMING
    reason = _reason(moved, status)
    answer = HedgeRatioClose(close=close, status=status, last_tick=tick, estimate=estimate, reason=reason)
    return msgspec.structs.replace(moved, reason=reason), answer


def _warm_up(parameters: FilterParameters, state: KalmanState, x: float, y: float) -> KalmanState:
    warm_up = observe(state.warm_up, x, y)
    started = first_state(parameters, warm_up)
    if isinstance(started, str):
        return msgspec.structs.replace(state, warm_up=warm_up, reason=started)
    return msgspec.structs.replace(state, warm_up=WarmUp(), filter=started, reason="the warm-up ends with this bar")


def _reason(state: KalmanState, status: ModelStatus) -> str:
    match status:
        case ModelStatus.READY:
            return ""
        case ModelStatus.DEGRADED:
            return "the covariance was reset"
        case ModelStatus.WARMING:
            return state.reason


def _estimate(state: FilterState, x: float, y: float) -> HedgeEstimate:
    prediction = evaluate(state, x, y)
    return HedgeEstimate(
        alpha=state.alpha,
        beta=state.beta,
        innovation=prediction.innovation,
        parameter_variance=prediction.parameter_variance,
        alpha_variance=state.alpha_variance,
        beta_variance=state.beta_variance,
    )


def _log_prices(tick: Tick) -> tuple[float, float]:
    """Log mid prices of hedge and dependent leg: the last trade would bounce between bid and ask and look like reversion."""
    return _log_mid(tick.x), _log_mid(tick.y)


def _log_mid(quote: Quote) -> float:
    try:
        return log_mid(float(quote.bid), float(quote.ask))
    except ValueError as error:
        raise InvalidRecord("invalid-price", f"bid {quote.bid} and ask {quote.ask} must be numbers") from error
