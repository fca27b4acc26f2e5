"""The recursion, what a fit may see and which fits may be used."""

import math
import random
import time
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import VolatilityModel
from services.garch_volatility.volatility import (
    SMALLEST_VARIANCE,
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
    prepare,
    refusal,
    standardise,
    surprises,
)
from tests.unit.garch_volatility.builders import GOOD_FIT, garch_noise, reverting


def fitted(phi: float = 0.9) -> Volatility:
    """A GARCH model with a variance."""
    return msgspec.structs.replace(garch(GOOD_FIT), phi=phi, variance=2.5e-7)


def test_recursion_equals_the_batch_formula() -> None:
    """Step by step equals h written out over the whole series, at every prefix (G10)."""
    innovations = reverting(1, 2000)
    model = filtered(garch(GOOD_FIT), innovations[:2])
    noise = surprises(0.9, innovations)
    variance = [model.variance]
    for surprise in noise[1:]:
        variance.append(GOOD_FIT.omega + GOOD_FIT.alpha * surprise**2 + GOOD_FIT.beta * variance[-1])
    for index, innovation in enumerate(innovations[2:], start=1):
        model = advance(model, innovation)
        assert model.variance == pytest.approx(variance[index], rel=1e-10)


def test_filtering_a_window_starts_from_its_sample_variance() -> None:
    """The presample variance is the mean square of the window's surprises."""
    innovations = reverting(2, 50)
    noise = surprises(0.9, innovations)
    start = sum(value * value for value in noise) / len(noise)
    expected = msgspec.structs.replace(garch(GOOD_FIT), variance=start, last_innovation=innovations[0])
    for innovation in innovations[1:]:
        expected = advance(expected, innovation)
    assert filtered(garch(GOOD_FIT), innovations) == expected


def test_without_persistence_it_is_the_plain_recursion() -> None:
    """With phi 0 the surprise is the innovation and z is e / sqrt(x'Px + h)."""
    model = fitted(phi=0.0)
    after = advance(model, 1e-3)
    assert after.variance == GOOD_FIT.omega + GOOD_FIT.alpha * 1e-6 + GOOD_FIT.beta * 2.5e-7
    assert standardise(model, 1e-3, 1e-7) == pytest.approx(1e-3 / math.sqrt(1e-7 + 2.5e-7))
    assert level_variance(model) == model.variance


def test_level_and_surprise_have_unit_variance() -> None:
    """On data of the model both e / sqrt(h / (1 - phi^2)) and the standardised surprise have a standard deviation near 1."""
    innovations = reverting(3, 20_000, phi=0.95)
    model = fitted(phi=0.95)
    levels, news = [], []
    for innovation in innovations:
        levels.append(innovation / math.sqrt(level_variance(model)))
        news.append(standardise(model, innovation, 0.0))
        model = advance(model, innovation)
    assert sum(value * value for value in news) / len(news) == pytest.approx(1, abs=0.05)
    assert sum(value * value for value in levels) / len(levels) == pytest.approx(1, abs=0.25)
    lag = sum(a * b for a, b in pairwise(news)) / sum(value * value for value in news)
    assert abs(lag) < 0.03


@given(innovations=st.lists(st.floats(-1, 1), min_size=2, max_size=50), phi=st.floats(0, 0.999))
@settings(max_examples=80, deadline=None)
def test_variance_stays_positive_and_finite(innovations: list[float], phi: float) -> None:
    """Zeros, jumps and constants leave a positive, finite variance and z in every model (G1, G5)."""
    for model in (ewma(phi), msgspec.structs.replace(garch(GOOD_FIT), phi=phi), msgspec.structs.replace(garch(GOOD_FIT), alpha=0.1, beta=0.9)):
        result = filtered(model, innovations)
        assert SMALLEST_VARIANCE <= result.variance < math.inf
        assert 0 < level_variance(result) < math.inf
        assert math.isfinite(standardise(result, 0.5, 0.0))


def test_running_moments_find_phi() -> None:
    """The running estimate finds the coefficient of an autoregression and forgets what is older than its horizon."""
    moments = Moments()
    for innovation in reverting(4, 4000, phi=0.9):
        moments = observe(moments, innovation, 1000)
    assert phi_of(moments.square, moments.product, 1000) == pytest.approx(0.9, abs=0.04)
    for innovation in garch_noise(4, 4000):
        moments = observe(moments, innovation, 1000)
    assert phi_of(moments.square, moments.product, 1000) < 0.2


@pytest.mark.parametrize(("phi", "bars"), [(0.5, 1.0), (math.sqrt(0.5), 2.0), (0.0, 0.0)])
def test_half_life(phi: float, bars: float) -> None:
    """Half-life is ln 0.5 / ln phi, and 0 when nothing persists."""
    assert half_life_bars(phi) == pytest.approx(bars)


@pytest.mark.parametrize("count", [5, 20, 50, 499])
def test_few_innovations_are_not_fitted(count: int) -> None:
    """Below the minimum there is no fit, however well one would converge (G2)."""
    assert prepare(reverting(5, count), 500) == f"{count} of at least 500 innovations"


def random_walk(seed: int) -> list[float]:
    """A level that never reverts."""
    chance = random.Random(seed)
    level, values = 0.0, []
    for _ in range(1000):
        level += chance.gauss(0, 1e-3)
        values.append(level)
    return values


def mostly_zero() -> list[float]:
    """99% zeros."""
    return [1e-3 if index % 100 == 50 else 0.0 for index in range(1000)]


@pytest.mark.parametrize(
    ("name", "innovations", "reason"),
    [
        ("G1 zeros", [0.0] * 500, "degenerate"),
        ("G1 constant", [0.3] * 500, "no reversion"),
        ("G6 NaN", [*garch_noise(6, 500), math.nan], "not a finite number"),
        ("G6 infinity", [*garch_noise(6, 500), math.inf], "not a finite number"),
        ("G8 99% zeros", mostly_zero(), "degenerate"),
        ("G9 levels", random_walk(6), "no reversion"),
    ],
)
def test_unusable_data_are_refused(name: str, innovations: list[float], reason: str) -> None:
    """Data on which a fit converges to nonsense never reach it."""
    prepared = prepare(innovations, 500)
    assert isinstance(prepared, str), name
    assert reason in prepared


def test_random_walks_pass_rarely() -> None:
    """At most 5 of 100 random walks look as if they reverted."""
    assert sum(not isinstance(prepare(random_walk(seed), 500), str) for seed in range(100)) <= 5


def test_one_huge_jump_is_clipped() -> None:
    """A jump of 50 standard deviations is not seen as one by the fit; the others are left alone (G7)."""
    noise = garch_noise(7, 1000)
    prepared = prepare([*noise[:500], 0.025, *noise[501:]], 500)
    assert not isinstance(prepared, str)
    _, clipped = prepared
    assert max(map(abs, clipped)) < 0.01


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("fine", {}, ""),
        ("failed", {"reason": "no convergence"}, "no convergence"),
        ("alpha negative", {"alpha": -0.01}, "out of bounds"),
        ("alpha at its limit", {"alpha": 0.4, "beta": 0.5, "omega": 2.5e-8}, ""),
        ("alpha too large", {"alpha": 0.41, "beta": 0.5}, "out of bounds"),
        ("integrated (G5)", {"alpha": 0.12, "beta": 0.88}, "out of bounds"),
        ("no constant", {"omega": 0.0}, "out of bounds"),
        ("unconditional variance too large", {"omega": 6e-8}, "of the sample's"),
        ("unconditional variance too small", {"omega": 1e-9}, "of the sample's"),
        ("less likely than the fallback", {"ewma_log_likelihood": 10.5}, "less likely than EWMA"),
        ("not a number", {"beta": math.nan}, "not a finite number"),
    ],
)
def test_acceptance(name: str, changes: dict[str, float | str], reason: str) -> None:
    """Each rule alone refuses a fit that is fine otherwise, and says which it was."""
    refused = refusal(msgspec.structs.replace(GOOD_FIT, **changes))
    assert (reason in refused) if reason else not refused, name


def test_fallback_is_labelled() -> None:
    """The exponentially weighted model says what it is, with the weights 0.06 and 0.94."""
    model = ewma(0.5)
    assert (model.model, model.omega) == (VolatilityModel.EWMA, 0)
    assert (model.alpha, model.beta) == (pytest.approx(0.06), 0.94)
    assert garch(Fit()).model is VolatilityModel.GARCH


def test_a_step_costs_microseconds() -> None:
    """One step of the recursion takes less than 10 us even on a busy machine; 1 us is the aim."""
    model, best = fitted(), math.inf
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(2000):
            advance(model, 1e-3)
        best = min(best, (time.perf_counter() - started) / 2000)
    assert best < 10e-6
