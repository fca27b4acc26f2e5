"""Volatility as a model of one pair: bar closes with their hedge ratios in, one record of thresholds a bar out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED, bar_end_ns
from common.messages import BarStatus, HedgeEstimate, HedgeRatioClose, Message, ModelStatus, Quote, Thresholds, VolatilityModel
from common.plausible import require_books, require_estimate
from services.garch_volatility.fitting import FitRequest, Fits
from services.garch_volatility.thresholds import ThresholdParameters, band
from services.garch_volatility.volatility import (
    Fit,
    Moments,
    Volatility,
    advance,
    ewma,
    filtered,
    garch,
    half_life_bars,
    level_variance,
    observe,
    phi_of,
    refusal,
    standardise,
)

#: Weight of the newest bar in the running mean of each leg's spread.
SPREAD_WEIGHT = 0.06


class GarchParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the model is told; all lengths in bars, of them `start`, `minimum` and `window` count FRESH ones."""

    start_bars: int = 30
    minimum_bars: int = 500
    window_bars: int = 1000
    refit_bars: int = 100
    fit_delay_bars: int = 3
    max_age_bars: int = 500
    thresholds: ThresholdParameters = ThresholdParameters()


class PendingFit(msgspec.Struct, frozen=True, gc=False):
    """A fit asked for at `bar` that takes effect at `due_bar`; `later` innovations came after its data."""

    bar: int
    due_bar: int
    later: int = 0


class GarchState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pair after its last input; -1 stands for nothing yet.

    `bar` is the last answered bar, `window` the newest innovations, oldest first, `requested_bar` that of the last fit asked
    for, `fitted_bar` that at whose close a fit was last put to use, `fit_reason` why a fit was refused or given up,
    `beta` and the spreads what a round trip's cost is made of.
    """

    pair: str
    session: int = -1
    bar: int = -1
    window: tuple[float, ...] = ()
    moments: Moments = Moments()
    volatility: Volatility | None = None
    pending: PendingFit | None = None
    requested_bar: int = -1
    fitted_bar: int = -1
    fits_accepted: int = 0
    fits_refused: int = 0
    fit_reason: str = ""
    beta: float = 0.0
    y_spread: float = 0.0
    x_spread: float = 0.0


class GarchModel:
    """Answers each HedgeRatioClose with exactly one Thresholds.

    Parameters
    ----------
    parameters
        Settings of volatility and thresholds.
    bar_interval_ns
        Length of a bar, for the end times of bars that have to be filled in.
    fits
        Where fits are made. Their results depend on the request alone, so the model stays a function of its input.

    """

    name = "garch"
    #: Snapshots of schema 1 tell offsets of `hedge-ratios`, which was the input then.
    schema = 2
    state_type = GarchState

    def __init__(self, parameters: GarchParameters, bar_interval_ns: int, fits: Fits) -> None:
        self._parameters = parameters
        self._bar_interval_ns = bar_interval_ns
        self._fits = fits

    def initial(self, pair: str) -> GarchState:
        """Return the state before the first input."""
        return GarchState(pair=pair)

    def drop_reason(self, state: GarchState, message: Message) -> str | None:
        """Why an input must not be applied: its bar has been answered."""
        if not isinstance(message, HedgeRatioClose):
            return None
        if message.close.session < state.session:
            return "old-session"
        if message.close.session == state.session and message.close.bar <= state.bar:
            return "closed-bar"
        return None

    def step(self, state: GarchState, message: Message) -> tuple[GarchState, Sequence[Message]]:
        """Apply one record of `hedge-ratio-closes`; bars that it skips are answered first, as MISSING.

        Raises
        ------
        InvalidRecord
            When an estimate or bar number cannot be right, or the message is none of `hedge-ratio-closes`; the state is as before.

        """
        if not isinstance(message, HedgeRatioClose):
            raise InvalidRecord("unexpected-message", f"{type(message).__name__} does not belong in hedge-ratio-closes")
        if self.drop_reason(state, message):
            return state, ()
        if message.estimate:
            require_estimate(message.estimate)
        if message.last_tick:
            require_books(message.last_tick)
        state = self._open(state, message)
        answers = []
        for bar in range(state.bar + 1, message.close.bar):
            state, answer = self._answer(state, self._missing(message, bar))
            answers.append(answer)
        state, answer = self._answer(state, message)
        return state, (*answers, answer)

    def resume(self, state: GarchState) -> None:
        """Begin the fit again that was under way when the state was left."""
        if state.pending:
            self._fits.start(self._request(state, state.pending))

    def summary(self, state: GarchState) -> Mapping[str, Any]:
        """Return what people want to see of a pair."""
        values: dict[str, Any] = {"bar": state.bar, "fits_accepted": state.fits_accepted, "fits_refused": state.fits_refused, "reason": state.fit_reason}
        if state.volatility:
            values |= {
                "model": state.volatility.model,
                "fitted": state.volatility.model is VolatilityModel.GARCH,
                "model_age_bars": _age(state),
                "innovation_deviation_bps": math.sqrt(level_variance(state.volatility)) * 1e4,
                "autocorrelation": state.volatility.phi,
                "half_life_bars": half_life_bars(state.volatility.phi),
            }
        return values

    def _open(self, state: GarchState, message: HedgeRatioClose) -> GarchState:
        """Start afresh with a new session; its counters go on."""
        close = message.close
        if close.session > state.session:
            return GarchState(pair=state.pair, session=close.session, bar=close.bar - 1, fits_accepted=state.fits_accepted, fits_refused=state.fits_refused)
        if close.bar - state.bar > MOST_BARS_SKIPPED:
            raise InvalidRecord("bar-jump", f"bar {close.bar} after bar {state.bar} skips more than {MOST_BARS_SKIPPED} bars")
        return state

    def _missing(self, message: HedgeRatioClose, bar: int) -> HedgeRatioClose:
        end_time_ns = bar_end_ns(bar, self._bar_interval_ns)
        close = msgspec.structs.replace(message.close, bar=bar, end_time_ns=end_time_ns, status=BarStatus.MISSING, end=False, y_mark=None, x_mark=None)
        return HedgeRatioClose(close=close, status=message.status, reason="the bar is missing")

    def _answer(self, state: GarchState, message: HedgeRatioClose) -> tuple[GarchState, Thresholds]:
        estimate = message.estimate if message.close.status is BarStatus.FRESH and message.status is ModelStatus.READY else None
        standardised = None
        if estimate and state.volatility:
            standardised = standardise(state.volatility, estimate.innovation, estimate.parameter_variance)
        state = msgspec.structs.replace(state, bar=message.close.bar)
        if estimate:
            state = self._take_in(state, estimate)
        state = self._with_spreads(state, message)
        state = self._with_fit(state)
        return state, self._thresholds(state, message, estimate, standardised)

    def _take_in(self, state: GarchState, estimate: HedgeEstimate) -> GarchState:
        parameters, innovation = self._parameters, estimate.innovation
        kept = parameters.window_bars + parameters.fit_delay_bars
        window = (*state.window[-kept + 1 :], innovation)
        moments = observe(state.moments, innovation, parameters.window_bars)
        phi = phi_of(moments.square, moments.product, min(moments.bars, parameters.window_bars))
        volatility = state.volatility
        if volatility is None:
            volatility = filtered(ewma(phi), window) if moments.bars >= parameters.start_bars else None
        else:
            volatility = advance(volatility, innovation)
            if volatility.model is VolatilityModel.EWMA:
                volatility = msgspec.structs.replace(volatility, phi=phi)
        pending = state.pending and msgspec.structs.replace(state.pending, later=state.pending.later + 1)
        return msgspec.structs.replace(state, window=window, moments=moments, volatility=volatility, pending=pending, beta=estimate.beta)

    def _with_spreads(self, state: GarchState, message: HedgeRatioClose) -> GarchState:
        tick = message.last_tick
        if tick is None:
            return state
        y_spread, x_spread = _relative_spread(tick.y), _relative_spread(tick.x)
        if state.y_spread and state.x_spread:
            y_spread = state.y_spread + SPREAD_WEIGHT * (y_spread - state.y_spread)
            x_spread = state.x_spread + SPREAD_WEIGHT * (x_spread - state.x_spread)
        return msgspec.structs.replace(state, y_spread=y_spread, x_spread=x_spread)

    def _with_fit(self, state: GarchState) -> GarchState:
        """Let a due fit take effect, give up an old one, ask for the next."""
        if state.pending and state.bar >= state.pending.due_bar:
            fit = self._fits.result(self._request(state, state.pending))
            state = self._judged(msgspec.structs.replace(state, pending=None), fit)
        if state.volatility and state.volatility.model is VolatilityModel.GARCH and _age(state) > self._parameters.max_age_bars:
            state = self._given_up(state, state.volatility)
        is_time = state.requested_bar < 0 or state.bar - state.requested_bar >= self._parameters.refit_bars
        if state.pending is None and is_time and len(state.window) >= self._parameters.minimum_bars:
            pending = PendingFit(state.bar, state.bar + self._parameters.fit_delay_bars)
            state = msgspec.structs.replace(state, pending=pending, requested_bar=state.bar)
            self._fits.start(self._request(state, pending))
        return state

    def _request(self, state: GarchState, pending: PendingFit) -> FitRequest:
        end = len(state.window) - pending.later
        innovations = state.window[max(0, end - self._parameters.window_bars) : end]
        return FitRequest(pair=state.pair, session=state.session, bar=pending.bar, minimum_bars=self._parameters.minimum_bars, innovations=innovations)

    def _judged(self, state: GarchState, fit: Fit) -> GarchState:
        """Put an accepted fit to use from this bar on, its variance run anew over the window; a refused one changes nothing."""
        if reason := refusal(fit):
            return msgspec.structs.replace(state, fits_refused=state.fits_refused + 1, fit_reason=f"fit refused: {reason}")
        volatility = filtered(garch(fit), state.window[-self._parameters.window_bars :])
        return msgspec.structs.replace(state, volatility=volatility, fitted_bar=state.bar, fits_accepted=state.fits_accepted + 1, fit_reason="")

    def _given_up(self, state: GarchState, volatility: Volatility) -> GarchState:
        phi = phi_of(state.moments.square, state.moments.product, min(state.moments.bars, self._parameters.window_bars))
        fallback = msgspec.structs.replace(ewma(phi), variance=volatility.variance, last_innovation=volatility.last_innovation)
        reason = f"EWMA, since no fit has been accepted for {_age(state)} bars; {state.fit_reason}"
        return msgspec.structs.replace(state, volatility=fallback, fit_reason=reason)

    def _thresholds(self, state: GarchState, message: HedgeRatioClose, estimate: HedgeEstimate | None, standardised: float | None) -> Thresholds:
        close, volatility = message.close, state.volatility
        status, reason = self._status(state, message)
        answer = Thresholds(
            pair=close.pair,
            seq=close.seq,
            session=close.session,
            bar=close.bar,
            bar_status=close.status,
            status=status,
            feed=close.feed,
            end=close.end,
            innovation=estimate.innovation if estimate else None,
            standardised_innovation=standardised,
            reason=reason,
            fits_accepted=state.fits_accepted,
            fits_refused=state.fits_refused,
        )
        if volatility is None:
            return answer
        variance = level_variance(volatility)
        limits = band(self._parameters.thresholds, math.sqrt(variance), state.beta, state.y_spread, state.x_spread)
        return msgspec.structs.replace(
            answer,
            forecast_variance=variance,
            volatility_model=volatility.model,
            model_age_bars=_age(state),
            half_life_bars=half_life_bars(volatility.phi),
            **msgspec.structs.asdict(limits),
        )

    def _status(self, state: GarchState, message: HedgeRatioClose) -> tuple[ModelStatus, str]:
        if message.status is not ModelStatus.READY:
            return message.status, f"filter: {message.reason}"
        if state.volatility is None:
            return ModelStatus.WARMING, f"{state.moments.bars} of {self._parameters.start_bars} innovations"
        return ModelStatus.READY, state.fit_reason


def _age(state: GarchState) -> int:
    """Bars since a fit was last put to use, given up or not; 0 before the first."""
    return state.bar - state.fitted_bar if state.fitted_bar >= 0 else 0


def _relative_spread(quote: Quote) -> float:
    bid, ask = float(quote.bid), float(quote.ask)
    return 2 * (ask - bid) / (ask + bid)
