"""Bayesian online changepoint detection on standardised innovations, in plain floats with bounded memory."""

import bisect
import functools
import math
import operator
from collections.abc import Callable

import msgspec

from common.errors import ConfigurationError, InvalidRecord
from common.messages import Changepoint, ChangepointAction


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the detector is told.

    Attributes
    ----------
    expected_run_bars
        lambda: expected bars between two changes; the hazard is its inverse at every bar.
    window_bars
        W: a change within the last W bars counts as recent. Shorter windows miss slow changes, since the run is older than
        the window by the time the posterior is convinced.
    alarm_mass, release_mass
        The action starts when the recent mass exceeds the first and ends when it falls below the second.
    flatten_after_bars
        Bars in a row above `alarm_mass` after which positions are to be closed, not only reduced.
    release_run_bars
        The action ends only once the expected run length is at least this.
    cap
        Most hypotheses that are kept.
    clip
        Inputs are clipped at this many standard deviations: heavy tails, not changes, are the usual false alarm.
    smallest_variance
        Floor of b / a in the predictive density; without it a run of equal values makes the next ordinary one a surprise.
    prior_mean, prior_strength, prior_shape, prior_scale
        m0, kappa0, a0, b0 of the normal-inverse-gamma prior of each run.

    Raises
    ------
    ConfigurationError
        When a value is outside its range; each problem is named.

    """

    expected_run_bars: float = 1000.0
    window_bars: int = 50
    alarm_mass: float = 0.9
    release_mass: float = 0.2
    flatten_after_bars: int = 5
    release_run_bars: float = 50.0
    cap: int = 64
    clip: float = 4.0
    smallest_variance: float = 0.25
    prior_mean: float = 0.0
    prior_strength: float = 1.0
    prior_shape: float = 1.0
    prior_scale: float = 1.0

    def __post_init__(self) -> None:
        rules = (
            ("expected_run_bars", 1 < self.expected_run_bars < math.inf, "above 1 and finite"),
            ("window_bars", self.window_bars >= 1, "at least 1"),
            ("alarm_mass", 0 < self.alarm_mass < 1, "between 0 and 1"),
            ("release_mass", 0 < self.release_mass < self.alarm_mass, "above 0 and below alarm_mass"),
            ("flatten_after_bars", self.flatten_after_bars >= 1, "at least 1"),
            ("release_run_bars", 0 <= self.release_run_bars < math.inf, "0 or more and finite"),
            ("cap", self.cap >= 2, "at least 2"),
            ("clip", 0 < self.clip < math.inf, "above 0 and finite"),
            ("smallest_variance", 0 < self.smallest_variance < math.inf, "above 0 and finite"),
            ("prior_mean", math.isfinite(self.prior_mean), "finite"),
            ("prior_strength", 0 < self.prior_strength < math.inf, "above 0 and finite"),
            ("prior_shape", 0 < self.prior_shape < math.inf, "above 0 and finite"),
            ("prior_scale", 0 < self.prior_scale < math.inf, "above 0 and finite"),
        )
        if problems := [f"changepoint {name}={getattr(self, name)}: must be {rule}" for name, holds, rule in rules if not holds]:
            raise ConfigurationError(problems)


class State(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The run-length posterior after `observations` inputs.

    The tuples run over the kept hypotheses, shortest run first; kappa and a of the posterior follow from the run length.

    Attributes
    ----------
    run_lengths
        r: observations since the last change, 0 for a change right after the newest.
    masses
        P(r | data), sum 1.
    means, scales
        m and b of each run's normal-inverse-gamma posterior.

    """

    run_lengths: tuple[int, ...] = (0,)
    masses: tuple[float, ...] = (1.0,)
    means: tuple[float, ...]
    scales: tuple[float, ...]
    observations: int = 0
    bars_above: int = 0
    action: ChangepointAction = ChangepointAction.NONE


def initial(params: Params) -> State:
    """Before the first observation: a run of length 0 for certain."""
    return State(means=(params.prior_mean,), scales=(params.prior_scale,))


def step(params: Params, state: State, standardised_innovation: float) -> tuple[State, Changepoint]:
    """Take in one observation.

    Parameters
    ----------
    params
        Settings of the detector.
    state
        Posterior before the observation.
    standardised_innovation
        z of a FRESH bar, standardised by a scale known before the bar; unit variance when nothing has changed.

    Returns
    -------
    tuple of State and Changepoint
        The posterior with this observation, and what it asks for.

    Raises
    ------
    InvalidRecord
        When the observation is no finite number.

    Notes
    -----
    With a constant hazard P(r = 0) equals the hazard after every observation, whatever the data, so it is never looked at.
    The statistic is the mass on 1 <= r <= W, without the run that began with the stream: that one has seen no change.

    References
    ----------
    Adams and MacKay (2007), Bayesian Online Changepoint Detection, algorithm 1; the Student-t predictive density of the
    normal-inverse-gamma model is Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, equation 110.

    """
    if not math.isfinite(standardised_innovation):
        raise InvalidRecord("invalid-innovation", f"{standardised_innovation} must be a finite number")
    value = min(max(standardised_innovation, -params.clip), params.clip)
    grown = _grow(params, state, value)
    mass = recent_mass(grown, params.window_bars)
    run_length = math.fsum(map(operator.mul, grown.run_lengths, grown.masses))
    bars_above = grown.bars_above + 1 if mass > params.alarm_mass else 0
    action = _action(params, grown.action, mass, run_length, bars_above)
    decided = msgspec.structs.replace(grown, bars_above=bars_above, action=action)
    return decided, Changepoint(recent_mass=mass, expected_run_length=run_length, action=action)


def recent_mass(state: State, window_bars: int) -> float:
    """P(1 <= r <= window_bars), over runs that began with a change."""
    last = min(window_bars, state.observations - 1)
    return math.fsum(state.masses[1 : bisect.bisect_right(state.run_lengths, last)])


def _grow(params: Params, state: State, value: float) -> State:
    """Weigh every run by its predictive density of `value`, then let it grow or end.

    Beyond the cap the least likely run is dropped, never r = 0. Dropping the oldest instead would forget exactly the run
    that explains stationary data.
    """
    log_densities, means, scales = _learn(params, state, value)
    top = max(log_densities)
    masses = [mass * math.exp(log_density - top) for mass, log_density in zip(state.masses, log_densities, strict=True)]
    lengths = [length + 1 for length in state.run_lengths]
    if len(masses) >= params.cap:
        least_likely = masses.index(min(masses))
        for column in (lengths, masses, means, scales):
            del column[least_likely]
    hazard = 1 / params.expected_run_bars
    survival = (1 - hazard) / math.fsum(masses)
    return State(
        run_lengths=(0, *lengths),
        masses=(hazard, *[survival * mass for mass in masses]),
        means=(params.prior_mean, *means),
        scales=(params.prior_scale, *scales),
        observations=state.observations + 1,
        bars_above=state.bars_above,
        action=state.action,
    )


def _learn(params: Params, state: State, value: float) -> tuple[list[float], list[float], list[float]]:
    """Log predictive density of `value` under each run, and each run's mean and scale once it knows `value`.

    The density is Student's t with 2a degrees of freedom, mean m and squared scale b (kappa + 1) / (a kappa); in log space
    nothing underflows. One loop over locals, since this is the costliest kernel of the pipeline.
    """
    log, log1p, floor = math.log, math.log1p, params.smallest_variance
    constants = _constants(params.prior_strength, params.prior_shape)
    log_densities, means, scales = [], [], []
    for length, mean, scale in zip(state.run_lengths, state.means, state.scales, strict=True):
        constant, shape, share, weight = constants(length)
        surprise = value - mean
        excess = weight * surprise * surprise
        floored = floor * shape
        floored = scale if scale > floored else floored  # noqa: FURB136 - max() costs a tenth of the loop
        log_densities.append(constant - 0.5 * log(floored) - (shape + 0.5) * log1p(excess / floored))
        means.append(mean + share * surprise)
        scales.append(scale + excess)
    return log_densities, means, scales


@functools.cache
def _constants(prior_strength: float, prior_shape: float) -> Callable[[int], tuple[float, float, float, float]]:
    """What depends on a run's length r alone, with kappa = kappa0 + r and a = a0 + r / 2.

    The function returned gives log Gamma(a + 1/2) - log Gamma(a) + log(kappa / (kappa + 1) / (2 pi)) / 2, then a,
    1 / (kappa + 1) and kappa / (kappa + 1) / 2.
    """

    @functools.lru_cache(maxsize=4096)
    def constants(length: int) -> tuple[float, float, float, float]:
        strength, shape = prior_strength + length, prior_shape + 0.5 * length
        kept = strength / (strength + 1)
        constant = math.lgamma(shape + 0.5) - math.lgamma(shape) + 0.5 * math.log(kept / (2 * math.pi))
        return constant, shape, 1 / (strength + 1), 0.5 * kept

    return constants


def _action(params: Params, current: ChangepointAction, mass: float, run_length: float, bars_above: int) -> ChangepointAction:
    """Alarm above one threshold, release below another."""
    if bars_above >= params.flatten_after_bars:
        return ChangepointAction.FLATTEN
    if bars_above and current is ChangepointAction.NONE:
        return ChangepointAction.REDUCE_ONLY
    if mass < params.release_mass and run_length >= params.release_run_bars:
        return ChangepointAction.NONE
    return current
