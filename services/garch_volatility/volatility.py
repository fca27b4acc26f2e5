"""Volatility of the filter's innovations: an autoregression whose surprises follow a GARCH(1,1) recursion.

A hedge ratio slow enough to leave something to trade leaves innovations that revert over many bars. Their level is no white
noise: GARCH fitted to it says that variance never forgets, and a changepoint detector sees a change at every swing. So
the expected part is taken out first and volatility belongs to the rest:

    e_k = phi e_{k-1} + u_k,    u_k ~ (0, h_k),    h_{k+1} = omega + alpha u_k^2 + beta h_k

At today's volatility the innovation itself then has the variance h / (1 - phi^2). With phi = 0 all of this is the plain
recursion on e. Time is counted in FRESH bars. Units: e and u log price, h and omega log price squared.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from common.messages import VolatilityModel

#: Least variance of a surprise: a standard deviation of a thousandth of a basis point.
SMALLEST_VARIANCE = 1e-14
#: Decay of the exponentially weighted fallback (RiskMetrics, daily).
EWMA_DECAY = 0.94
#: Largest phi of the running estimate; towards 1 the level's variance has no bound and z goes to 0, which enters nothing.
LARGEST_PHI = 0.999
#: Surprises of a fit are clipped at this many robust standard deviations: one huge jump makes every fit explosive.
CLIP_DEVIATIONS = 10.0
#: Half-lives that a fit's data must span; a random walk seems to revert slowly and passes at about 1%.
HALF_LIVES_OF_DATA = 20.0
#: Robust estimate of a normal distribution's standard deviation from the median of absolute values.
_NORMAL_CONSISTENT = 1.4826
_MOST_ALPHA = 0.4
_MOST_PERSISTENCE = 0.9995
_UNCONDITIONAL_RANGE = (0.2, 5.0)


class Moments(msgspec.Struct, frozen=True, gc=False):
    """Running mean of e_k^2 and of e_k e_{k-1}; all alike at first, then exponentially forgetting."""

    bars: int = 0
    square: float = 0.0
    product: float = 0.0
    last: float = 0.0


class Volatility(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Parameters in use, variance of the next surprise and the last innovation."""

    model: VolatilityModel
    phi: float
    omega: float
    alpha: float
    beta: float
    variance: float
    last_innovation: float = 0.0


class Fit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a fit found; with a `reason` it failed and the rest means nothing.

    `variance` is the sample variance of the `observations` surprises, the likelihoods are Gaussian and start from it.
    """

    reason: str = ""
    observations: int = 0
    variance: float = 0.0
    phi: float = 0.0
    omega: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0
    log_likelihood: float = 0.0
    ewma_log_likelihood: float = 0.0


def observe(moments: Moments, innovation: float, horizon_bars: int) -> Moments:
    """Add an innovation; beyond `horizon_bars` of them older ones fade."""
    bars = moments.bars + 1
    weight = 1 / min(bars, horizon_bars)
    return Moments(
        bars,
        moments.square + weight * (innovation * innovation - moments.square),
        moments.product + weight * (innovation * moments.last - moments.product),
        innovation,
    )


def phi_of(square: float, product: float, observations: int) -> float:
    """First autocorrelation about zero, corrected for its bias towards zero and kept within [0, LARGEST_PHI].

    References
    ----------
    Marriott and Pope (1954), Bias in the estimation of autocorrelations: E[phi_hat] = phi (1 - 2 / n) with a known mean.

    """
    if square < SMALLEST_VARIANCE or not observations:
        return 0.0
    return min(max(product / square * (1 + 2 / observations), 0.0), LARGEST_PHI)


def ewma(phi: float) -> Volatility:
    """Make the fallback model, without a variance yet."""
    return Volatility(model=VolatilityModel.EWMA, phi=phi, omega=0.0, alpha=1 - EWMA_DECAY, beta=EWMA_DECAY, variance=0.0)


def garch(fit: Fit) -> Volatility:
    """Make the fitted model, without a variance yet."""
    return Volatility(model=VolatilityModel.GARCH, phi=fit.phi, omega=fit.omega, alpha=fit.alpha, beta=fit.beta, variance=0.0)


def advance(volatility: Volatility, innovation: float) -> Volatility:
    """Take in one innovation: the variance becomes that of the next surprise."""
    surprise = innovation - volatility.phi * volatility.last_innovation
    variance = volatility.omega + volatility.alpha * surprise * surprise + volatility.beta * volatility.variance
    return msgspec.structs.replace(volatility, variance=max(variance, SMALLEST_VARIANCE), last_innovation=innovation)


def filtered(volatility: Volatility, innovations: Sequence[float]) -> Volatility:
    """Run the recursion over a window, from the sample variance of its surprises as the presample value."""
    variance = max(_mean_square(surprises(volatility.phi, innovations)), SMALLEST_VARIANCE)
    result = msgspec.structs.replace(volatility, variance=variance, last_innovation=innovations[0])
    for innovation in innovations[1:]:
        result = advance(result, innovation)
    return result


def level_variance(volatility: Volatility) -> float:
    """Variance of the next innovation at today's volatility, h / (1 - phi^2)."""
    return volatility.variance / (1 - volatility.phi * volatility.phi)


def standardise(volatility: Volatility, innovation: float, parameter_variance: float) -> float:
    """Surprise of an innovation over its standard deviation as forecast one bar earlier.

    The innovation's level has the variance x'Px + h / (1 - phi^2), of which its surprise is the share 1 - phi^2.
    """
    surprise = innovation - volatility.phi * volatility.last_innovation
    return surprise / math.sqrt(volatility.variance + (1 - volatility.phi * volatility.phi) * parameter_variance)


def half_life_bars(phi: float) -> float:
    """Bars in which half of an innovation is gone, ln 0.5 / ln phi; 0 when it does not persist at all."""
    return math.log(0.5) / math.log(phi) if 0 < phi < 1 else 0.0


def surprises(phi: float, innovations: Sequence[float]) -> list[float]:
    """u_k = e_k - phi e_{k-1}, one fewer than innovations."""
    return [later - phi * earlier for earlier, later in pairwise(innovations)]


def prepare(innovations: Sequence[float], minimum_bars: int) -> tuple[float, list[float]] | str:
    """Phi and the clipped surprises that a fit is to see, or why there can be none."""
    count = len(innovations)
    if count < minimum_bars:
        return f"{count} of at least {minimum_bars} innovations"
    if not all(map(math.isfinite, innovations)):
        return "an innovation is not a finite number"
    square = _mean_square(innovations)
    phi = phi_of(square, math.fsum(a * b for a, b in pairwise(innovations)) / (count - 1), count)
    if square < SMALLEST_VARIANCE:
        return "degenerate: the innovations are all but zero"
    if half_life_bars(phi) * HALF_LIVES_OF_DATA > count:
        return f"no reversion: a half-life of {half_life_bars(phi):.0f} bars takes at least {HALF_LIVES_OF_DATA * half_life_bars(phi):.0f} to be seen"
    raw = surprises(phi, innovations)
    scale = _NORMAL_CONSISTENT * sorted(map(abs, raw))[count // 2]
    if scale * scale < SMALLEST_VARIANCE:
        return "degenerate: most innovations say nothing new"
    most = CLIP_DEVIATIONS * scale
    return phi, [min(max(surprise, -most), most) for surprise in raw]


def log_likelihood(volatility: Volatility, data: Iterable[float], first_variance: float) -> float:
    """Gaussian log likelihood of surprises under a recursion that starts at `first_variance`."""
    variance, total = first_variance, 0.0
    for surprise in data:
        square = surprise * surprise
        total -= 0.5 * (math.log(2 * math.pi * variance) + square / variance)
        variance = max(volatility.omega + volatility.alpha * square + volatility.beta * variance, SMALLEST_VARIANCE)
    return total


def refusal(fit: Fit) -> str:
    """Why a fit must not be used; empty when it may."""
    if fit.reason:
        return fit.reason
    if not all(map(math.isfinite, (fit.phi, fit.omega, fit.alpha, fit.beta, fit.log_likelihood))):
        return "a parameter is not a finite number"
    persistence = fit.alpha + fit.beta
    if not (0 <= fit.alpha <= _MOST_ALPHA and fit.beta >= 0 and fit.omega > 0 and persistence < _MOST_PERSISTENCE):
        return f"parameters out of bounds: omega {fit.omega:.3g}, alpha {fit.alpha:.3f}, alpha + beta {persistence:.4f}"
    ratio = fit.omega / (1 - persistence) / fit.variance
    if not _UNCONDITIONAL_RANGE[0] <= ratio <= _UNCONDITIONAL_RANGE[1]:
        return f"unconditional variance is {ratio:.2f} of the sample's"
    if fit.log_likelihood < fit.ewma_log_likelihood:
        return f"less likely than EWMA by {fit.ewma_log_likelihood - fit.log_likelihood:.1f}"
    return ""


def _mean_square(values: Sequence[float]) -> float:
    return math.fsum(value * value for value in values) / len(values) if values else 0.0
