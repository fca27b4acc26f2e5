"""The filter's numerics against references, and in the cases that break filters."""

import math
import random
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pykalman import KalmanFilter

from common.errors import InvalidRecord
from services.kalman_filter.filter import (
    MOST_UNCERTAIN,
    FilterParameters,
    FilterState,
    WarmUp,
    evaluate,
    first_state,
    log_mid,
    observe,
    predict,
    update,
)


def state(**changes: float) -> FilterState:
    """A filter of textbook numbers whose centre of x stands still."""
    values: dict[str, Any] = {
        "alpha": 0.2,
        "beta": 1.1,
        "alpha_variance": 0.02,
        "covariance": 0.001,
        "beta_variance": 0.03,
        "x_centre": 0.0,
        "centre_weight": 0.0,
        "noise_variance": 0.01,
        "alpha_process_variance": 1e-4,
        "beta_process_variance": 2e-4,
        "initial_alpha_variance": 0.02,
        "initial_beta_variance": 0.03,
        "warm_up_bars": 100,
    }
    return FilterState(**(values | changes))


def data(seed: int, count: int) -> list[tuple[float, float]]:
    """Log prices (x, y) with a slope near 1.1."""
    chance = random.Random(seed)
    xs = [chance.gauss(0, 1) for _ in range(count)]
    return [(x, 0.3 + 1.1 * x + chance.gauss(0, 0.1)) for x in xs]


def warmed(pairs: list[tuple[float, float]], parameters: FilterParameters | None = None) -> FilterState | str:
    """The start over some log prices."""
    warm_up = WarmUp()
    for x, y in pairs:
        warm_up = observe(warm_up, x, y)
    return first_state(parameters or FilterParameters(warm_up_bars=len(pairs)), warm_up)


def is_sound(filter_state: FilterState) -> bool:
    """Whether parameters are finite and P is positive definite."""
    determinant = filter_state.alpha_variance * filter_state.beta_variance - filter_state.covariance**2
    finite = all(map(math.isfinite, (filter_state.alpha, filter_state.beta, determinant)))
    return finite and filter_state.alpha_variance > 0 and filter_state.beta_variance > 0 and determinant >= 0


def walk(seed: int, count: int) -> list[tuple[float, float]]:
    """Log prices of a coin pair: x a random walk near 11, y with slope 1.3 and a noisy spread."""
    chance = random.Random(seed)
    x, rows = 11.0, []
    for _ in range(count):
        x += chance.gauss(0, 1e-3)
        rows.append((x, 1.3 * x - 6 + chance.gauss(0, 5e-4)))
    return rows


def test_innovations_equal_pykalmans() -> None:
    """Innovation and S are those of the reference filter before its update, at every step (K9)."""
    rows, filter_state = data(1, 60), state()
    xs, ys = np.array([x for x, _ in rows]), np.array([y for _, y in rows])
    reference = KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.stack([np.ones_like(xs), xs], axis=1)[:, np.newaxis, :],
        transition_covariance=np.diag([1e-4, 2e-4]),
        observation_covariance=[[0.01]],
        initial_state_mean=[0.2, 1.1],
        initial_state_covariance=[[0.02, 0.001], [0.001, 0.03]],
    )
    means, covariances = reference.filter(ys)
    for index, (x, y) in enumerate(rows):
        mean = means[index - 1] if index else np.array([0.2, 1.1])
        prior = covariances[index - 1] + np.diag([1e-4, 2e-4]) if index else np.array([[0.02, 0.001], [0.001, 0.03]])
        row = np.array([1.0, x])
        prediction = evaluate(filter_state, x, y)
        assert prediction.innovation == pytest.approx(y - row @ mean, abs=1e-9)
        assert prediction.parameter_variance == pytest.approx(row @ prior @ row, abs=1e-9)
        filter_state = update(filter_state, x, y)


def test_predictions_equal_dense_gaussian_conditioning() -> None:
    """Every prediction equals conditioning the joint Gaussian of all observations at once (K9)."""
    rows, filter_state = data(2, 25), state()
    count = len(rows)
    design = np.array([[1.0, x] for x, _ in rows])
    prior, drift = np.array([[0.02, 0.001], [0.001, 0.03]]), np.diag([1e-4, 2e-4])
    joint = np.array([[design[i] @ (prior + min(i, j) * drift) @ design[j] for j in range(count)] for i in range(count)]) + 0.01 * np.eye(count)
    mean, ys = design @ np.array([0.2, 1.1]), np.array([y for _, y in rows])
    for index, (x, y) in enumerate(rows):
        gain = np.linalg.solve(joint[:index, :index], joint[:index, index]) if index else np.zeros(0)
        expected = mean[index] + gain @ (ys[:index] - mean[:index])
        variance = joint[index, index] - gain @ joint[:index, index]
        prediction = evaluate(filter_state, x, y)
        assert prediction.innovation == pytest.approx(y - expected, abs=1e-9)
        assert prediction.parameter_variance + 0.01 == pytest.approx(variance, abs=1e-9)
        filter_state = update(filter_state, x, y)


def test_without_process_noise_and_prior_it_is_least_squares() -> None:
    """A vague prior and parameters that stand still give the least squares line (K11)."""
    rows = data(3, 400)
    vague = state(alpha=0.0, beta=0.0, covariance=0.0, alpha_variance=1e4, beta_variance=1e4, alpha_process_variance=0.0, beta_process_variance=0.0)
    vague = msgspec.structs.replace(vague, initial_alpha_variance=1e4, initial_beta_variance=1e4)
    for x, y in rows:
        vague = update(vague, x, y)
    slope, intercept = np.polyfit([x for x, _ in rows], [y for _, y in rows], 1)
    assert (vague.alpha, vague.beta) == (pytest.approx(intercept, abs=1e-5), pytest.approx(slope, abs=1e-5))


def test_start_is_least_squares_of_the_warm_up() -> None:
    """The first state has the regression's slope, its residual variance as R, and P0 as the textbook says."""
    rows = walk(4, 150)
    started = warmed(rows)
    assert isinstance(started, FilterState)
    xs, ys = np.array([x for x, _ in rows]), np.array([y for _, y in rows])
    slope, intercept = np.polyfit(xs - xs.mean(), ys, 1)
    residual = float(np.sum((ys - intercept - slope * (xs - xs.mean())) ** 2) / 148)
    assert started.beta == pytest.approx(slope, rel=1e-9)
    assert started.alpha == pytest.approx(intercept, rel=1e-12)
    assert started.noise_variance == pytest.approx(residual, rel=1e-6)
    assert started.alpha_variance == pytest.approx(residual / 150, rel=1e-6)
    assert started.beta_variance == pytest.approx(residual / 150 / float(xs.var()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("too few bars", walk(5, 119), "119 of 120"),
        ("the hedge leg stands still", [(11.0, 8 + 1e-4 * (bar % 7)) for bar in range(120)], "did not move"),
        ("one leg is a function of the other", [(x, 2 * x + 1) for x, _ in walk(5, 120)], "exact function"),
        ("both legs stand still", [(11.0, 8.0)] * 120, "did not move"),
    ],
)
def test_unusable_warm_up_says_why(name: str, rows: list[tuple[float, float]], reason: str) -> None:
    """A warm-up that determines nothing gives a reason instead of a division by zero."""
    started = warmed(rows, FilterParameters())
    assert isinstance(started, str), name
    assert reason in started


@pytest.mark.parametrize("factor", [1e-8, 1e5])
def test_scale_of_a_price_changes_alpha_only(factor: float) -> None:
    """Quoting one leg in another unit leaves beta and innovations as they were (K7)."""
    rows = walk(6, 300)
    plain, scaled = warmed(rows[:120]), warmed([(x, y + math.log(factor)) for x, y in rows[:120]])
    assert isinstance(plain, FilterState)
    assert isinstance(scaled, FilterState)
    for x, y in rows[120:]:
        one, other = evaluate(plain, x, y), evaluate(scaled, x, y + math.log(factor))
        assert one.innovation == pytest.approx(other.innovation, abs=1e-9)
        assert one.parameter_variance == pytest.approx(other.parameter_variance, rel=1e-5)
        plain, scaled = update(plain, x, y), update(scaled, x, y + math.log(factor))
    assert plain.beta == pytest.approx(scaled.beta, abs=1e-6)
    assert scaled.alpha - plain.alpha == pytest.approx(math.log(factor), abs=1e-6)


@given(
    rows=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=40),
    weight=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_moving_the_centre_changes_no_prediction(rows: list[tuple[float, float]], weight: float) -> None:
    """With parameters that stand still, a filter whose centre moves predicts like one whose centre stays."""
    still = state(alpha_process_variance=0.0, beta_process_variance=0.0)
    moving = msgspec.structs.replace(still, centre_weight=weight)
    for x, y in rows:
        one, other = evaluate(still, x, y), evaluate(moving, x, y)
        assert one.innovation == pytest.approx(other.innovation, abs=1e-8)
        assert one.parameter_variance == pytest.approx(other.parameter_variance, rel=1e-6, abs=1e-9)
        still, moving = update(still, x, y), update(moving, x, y)


@given(
    rows=st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.integers(0, 5)), max_size=60),
    noise=st.floats(1e-10, 1),
)
@settings(max_examples=80, deadline=None)
def test_covariance_stays_a_covariance(rows: list[tuple[float, float, int]], noise: float) -> None:
    """Whatever prices come, P stays positive definite and S at least R, or it was reset and says so."""
    filter_state = state(noise_variance=noise, centre_weight=0.01)
    for x, y, gap in rows:
        filter_state = update(filter_state, x, y)
        filter_state = predict(filter_state, gap) if gap else filter_state
        assert is_sound(filter_state)
        assert evaluate(filter_state, x, y).parameter_variance >= 0


def test_a_hundred_thousand_updates_stay_sound() -> None:
    """P stays a covariance over a long run, without a reset (K6)."""
    filter_state = warmed(walk(7, 120))
    assert isinstance(filter_state, FilterState)
    rows = walk(7, 2000)
    for _ in range(50):
        for x, y in rows:
            filter_state = update(filter_state, x, y)
        assert is_sound(filter_state)
    assert filter_state.resets == 0


def test_constant_prices_do_not_blow_up() -> None:
    """While no price moves, z goes to 0 and the direction that the data do not show grows no further than the bound (K2)."""
    x, y = 10.0, 17.0
    first = state(alpha=0.0, beta=0.0, covariance=0.0, alpha_variance=1.0, beta_variance=1.0, noise_variance=1e-4)
    filter_state = msgspec.structs.replace(first, initial_alpha_variance=1e-3, initial_beta_variance=1e-3, warm_up_bars=20, alpha_process_variance=1e-4)
    for _ in range(50_000):
        filter_state = update(filter_state, x, y)
    assert abs(evaluate(filter_state, x, y).innovation) < 1e-9
    assert filter_state.alpha_variance <= MOST_UNCERTAIN * 20 * 1e-3
    assert filter_state.beta_variance <= MOST_UNCERTAIN * 20 * 1e-3
    assert is_sound(filter_state)


def test_uncertainty_grows_with_every_missed_bar() -> None:
    """A gap of 3600 bars adds 3600 Q to P, however it is counted (K8)."""
    started = state(alpha_process_variance=1e-6, beta_process_variance=2e-6)
    one_by_one = started
    for _ in range(3600):
        one_by_one = predict(one_by_one)
    at_once = predict(started, 3600)
    assert at_once.alpha_variance == pytest.approx(0.02 + 3600e-6)
    assert at_once.beta_variance == pytest.approx(0.03 + 7200e-6)
    assert one_by_one.alpha_variance == pytest.approx(at_once.alpha_variance)
    assert one_by_one.beta_variance == pytest.approx(at_once.beta_variance)


def test_innovations_after_gaps_have_the_forecast_variance() -> None:
    """With parameters that wander while nobody looks, mean z squared after the gaps is near 1 (K8)."""
    chance = random.Random(8)
    filter_state, alpha, beta, squares = state(covariance=0.0, alpha=0.3, beta=1.1), 0.3, 1.1, []
    for _ in range(3000):
        gap = 50 if chance.random() < 0.1 else 1
        alpha += chance.gauss(0, math.sqrt(1e-4 * gap))
        beta += chance.gauss(0, math.sqrt(2e-4 * gap))
        if gap > 1:
            filter_state = predict(filter_state, gap - 1)
        x = chance.gauss(0, 1)
        y = alpha + beta * x + chance.gauss(0, 0.1)
        prediction = evaluate(filter_state, x, y)
        if gap > 1:
            squares.append(prediction.innovation**2 / (prediction.parameter_variance + 0.01))
        filter_state = update(filter_state, x, y)
    assert 0.8 < sum(squares) / len(squares) < 1.3


def test_broken_covariance_is_reset_counted_and_said() -> None:
    """A P that is no covariance becomes P0 again, the filter is degraded until the next update."""
    broken = state(covariance=1.0)
    reset = update(broken, -1.0, 0.5)
    assert (reset.alpha_variance, reset.covariance, reset.beta_variance) == (0.02, 0.0, 0.03)
    assert (reset.resets, reset.degraded) == (1, True)
    again = update(reset, 1.0, 0.5)
    assert (again.resets, again.degraded) == (1, False)


def test_swapped_legs_are_another_model() -> None:
    """Both slopes are positive and their product at most 1: beta' is not 1 / beta (K13)."""
    rows = walk(9, 120)
    one, other = warmed(rows), warmed([(y, x) for x, y in rows])
    assert isinstance(one, FilterState)
    assert isinstance(other, FilterState)
    assert one.beta > 0
    assert other.beta > 0
    assert one.beta * other.beta <= 1


@pytest.mark.parametrize(
    ("bid", "ask"),
    [(math.nan, 1.0), (1.0, math.nan), (math.inf, math.inf), (-1.0, 1.0), (0.0, 1.0), (1e-320, 1e-320), (2.0, 1.0), (1.0, 1e300)],
)
def test_impossible_books_are_refused(bid: float, ask: float) -> None:
    """No number, no price, a crossed book: each is refused with its reason (K1)."""
    with pytest.raises(InvalidRecord, match="invalid-price"):
        log_mid(bid, ask)


def test_an_evaluation_costs_microseconds() -> None:
    """Evaluating a tick takes less than a hundredth of a millisecond even on a busy machine; 2 us is the aim."""
    filter_state = state()
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(2000):
            evaluate(filter_state, 1.0, 2.0)
        best = min(best, (time.perf_counter() - started) / 2000)
    assert best < 10e-6
