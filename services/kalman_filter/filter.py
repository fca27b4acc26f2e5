"""Dynamic hedge ratio: a Kalman filter over intercept and slope of two log prices, in plain floats.

Two parameters need three covariance numbers, and at that size Python's own floats are many times faster than arrays.
"""

import math

import msgspec

from common.errors import InvalidRecord

#: Below this standard deviation, in log price, a leg has not moved and a residual says nothing about noise.
SMALLEST_DEVIATION = 1e-7
#: A parameter may become at most this many times as uncertain as a single bar of the warm-up would leave it.
MOST_UNCERTAIN = 100.0
_SMALLEST_PRICE = 1e-15
_LARGEST_PRICE = 1e15


class FilterParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter is told.

    Attributes
    ----------
    warm_up_bars
        T, FRESH bars of the ordinary least squares start.
    alpha_process_noise, beta_process_noise
        Random-walk variances per bar as multiples of the warm-up's own scales: q_alpha = alpha_process_noise * R and
        q_beta = beta_process_noise * R / var x, with R the residual variance of the warm-up. A dial of q makes a parameter
        forget with a time constant of about 1 / sqrt(q) bars.

    """

    warm_up_bars: int = 120
    alpha_process_noise: float = 1e-3
    beta_process_noise: float = 1e-5


class WarmUp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Running moments of the warm-up's log prices, enough for ordinary least squares."""

    bars: int = 0
    x_mean: float = 0.0
    y_mean: float = 0.0
    x_squares: float = 0.0
    y_squares: float = 0.0
    products: float = 0.0


class FilterState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Parameters and covariance, predicted to the bar that is open.

    `alpha` is the log price of y where log x equals `x_centre`; `alpha_variance`, `covariance` and `beta_variance` are P,
    already grown by the process noise up to the open bar. Variances of alpha and noise are in log price squared.
    """

    alpha: float
    beta: float
    alpha_variance: float
    covariance: float
    beta_variance: float
    x_centre: float
    centre_weight: float
    noise_variance: float
    alpha_process_variance: float
    beta_process_variance: float
    initial_alpha_variance: float
    initial_beta_variance: float
    warm_up_bars: int
    degraded: bool = False
    resets: int = 0


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """Innovation of one observation and the variance that alpha and beta add to it, both before any update."""

    innovation: float
    parameter_variance: float


def log_mid(bid: float, ask: float) -> float:
    """Logarithm of the middle of a book.

    Raises
    ------
    InvalidRecord
        When a price is no positive number of a plausible size or the book is crossed.

    """
    if not _SMALLEST_PRICE < bid <= ask < _LARGEST_PRICE:
        raise InvalidRecord("invalid-price", f"bid {bid} and ask {ask} must be numbers with {_SMALLEST_PRICE} < bid <= ask < {_LARGEST_PRICE}")
    return math.log((bid + ask) / 2)


def observe(warm_up: WarmUp, x: float, y: float) -> WarmUp:
    """Add one bar's log prices to the moments; updated about the running means, so nothing cancels at large prices."""
    bars = warm_up.bars + 1
    dx, dy = x - warm_up.x_mean, y - warm_up.y_mean
    x_mean, y_mean = warm_up.x_mean + dx / bars, warm_up.y_mean + dy / bars
    return WarmUp(
        bars=bars,
        x_mean=x_mean,
        y_mean=y_mean,
        x_squares=warm_up.x_squares + dx * (x - x_mean),
        y_squares=warm_up.y_squares + dy * (y - y_mean),
        products=warm_up.products + dx * (y - y_mean),
    )


def first_state(parameters: FilterParameters, warm_up: WarmUp) -> FilterState | str:
    """Ordinary least squares over the warm-up, or the reason why there is no start yet.

    With T bars, centred x and residual variance s2: R = s2, P0 = diag(s2 / T, s2 / (T var x)), and the process noise as in
    FilterParameters. All of it scales with the data, so the same settings serve any coin.

    Parameters
    ----------
    parameters
        Dials; `warm_up_bars` is the least T.
    warm_up
        Moments of T log price pairs.

    References
    ----------
    Palomar, Portfolio Optimization, chapter 15.6 (scale-free initial values of the pairs-trading filter).

    """
    bars = warm_up.bars
    if bars < parameters.warm_up_bars:
        return f"{bars} of {parameters.warm_up_bars} bars of the warm-up"
    x_variance = warm_up.x_squares / bars
    if x_variance < SMALLEST_DEVIATION**2:
        return "the hedge leg did not move during the warm-up"
    beta = warm_up.products / warm_up.x_squares
    noise = (warm_up.y_squares - beta * warm_up.products) / (bars - 2)
    if noise < SMALLEST_DEVIATION**2:
        return "one leg is an exact function of the other during the warm-up"
    return FilterState(
        alpha=warm_up.y_mean,
        beta=beta,
        alpha_variance=noise / bars,
        covariance=0.0,
        beta_variance=noise / (bars * x_variance),
        x_centre=warm_up.x_mean,
        centre_weight=1 / bars,
        noise_variance=noise,
        alpha_process_variance=parameters.alpha_process_noise * noise,
        beta_process_variance=parameters.beta_process_noise * noise / x_variance,
        initial_alpha_variance=noise / bars,
        initial_beta_variance=noise / (bars * x_variance),
        warm_up_bars=bars,
    )


def evaluate(state: FilterState, x: float, y: float) -> Prediction:
    """Innovation e = y - alpha - beta (x - centre) and its parameter variance x'Px of one pair of log prices."""
    centred = x - state.x_centre
    alpha_gain = state.alpha_variance + state.covariance * centred
    beta_gain = state.covariance + state.beta_variance * centred
    return Prediction(y - state.alpha - state.beta * centred, alpha_gain + centred * beta_gain)


def update(state: FilterState, x: float, y: float) -> FilterState:
    """Move the state with the last tick of a FRESH bar, then predict it into the next bar.

    K = Px / S with S = x'Px + R; parameters += K e; P -= K (Px)'; the centre of x moves on; P += Q. A result that is no
    covariance resets P to its first value, is counted and marks the state degraded until the next update succeeds.

    The centre follows x slowly and no prediction changes by that: alpha' = alpha + beta d and P' = A P A' for a step d. Far
    from the centre a wandering beta is a wandering intercept in disguise: with a centre left behind by a trend, the filter
    would follow the spread the faster the farther the price has gone.
    """
    centred = x - state.x_centre
    alpha_gain = state.alpha_variance + state.covariance * centred
    beta_gain = state.covariance + state.beta_variance * centred
    innovation_variance = alpha_gain + centred * beta_gain + state.noise_variance
    if not state.noise_variance <= innovation_variance < math.inf:
        return _reset(state)
    alpha_variance = state.alpha_variance - alpha_gain * alpha_gain / innovation_variance
    covariance = state.covariance - alpha_gain * beta_gain / innovation_variance
    beta_variance = state.beta_variance - beta_gain * beta_gain / innovation_variance
    if not (alpha_variance > 0 and beta_variance > 0 and alpha_variance * beta_variance >= covariance * covariance):
        return _reset(state)
    surprise = (y - state.alpha - state.beta * centred) / innovation_variance
    beta = state.beta + beta_gain * surprise
    step = centred * state.centre_weight
    moved = msgspec.structs.replace(
        state,
        alpha=state.alpha + alpha_gain * surprise + beta * step,
        beta=beta,
        alpha_variance=alpha_variance + step * (2 * covariance + step * beta_variance) + state.alpha_process_variance,
        covariance=covariance + step * beta_variance,
        beta_variance=beta_variance + state.beta_process_variance,
        x_centre=state.x_centre + step,
        degraded=False,
    )
    return _bounded(moved)


def predict(state: FilterState, bars: int = 1) -> FilterState:
    """Let the parameters wander for `bars` bars without data: P grows by Q a bar, up to a bound."""
    grown = msgspec.structs.replace(
        state,
        alpha_variance=state.alpha_variance + bars * state.alpha_process_variance,
        beta_variance=state.beta_variance + bars * state.beta_process_variance,
    )
    return _bounded(grown)


def _bounded(state: FilterState) -> FilterState:
    """Cut variances that the data do not hold down, keeping the correlation.

    Along a leg whose price stands still nothing is learnt; without the bound that direction would grow for ever.
    """
    most_alpha = MOST_UNCERTAIN * state.warm_up_bars * state.initial_alpha_variance
    most_beta = MOST_UNCERTAIN * state.warm_up_bars * state.initial_beta_variance
    if state.alpha_variance <= most_alpha and state.beta_variance <= most_beta:
        return state
    alpha_variance, beta_variance = min(state.alpha_variance, most_alpha), min(state.beta_variance, most_beta)
    shrink = math.sqrt(alpha_variance / state.alpha_variance * (beta_variance / state.beta_variance))
    return msgspec.structs.replace(state, alpha_variance=alpha_variance, covariance=state.covariance * shrink, beta_variance=beta_variance)


def _reset(state: FilterState) -> FilterState:
    return msgspec.structs.replace(
        state,
        alpha_variance=state.initial_alpha_variance,
        covariance=0.0,
        beta_variance=state.initial_beta_variance,
        degraded=True,
        resets=state.resets + 1,
    )
