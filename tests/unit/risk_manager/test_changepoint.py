"""The changepoint detector against enumeration, on seeded streams, and in the cases that break detectors."""

import itertools
import math
import random
import time
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigurationError, InvalidRecord
from common.messages import Changepoint, ChangepointAction
from services.risk_manager.changepoint import Params, State, initial, step

#: Neither clip nor floor nor cap takes part: the plain model, which enumeration can check.
PLAIN = Params(expected_run_bars=5.0, clip=1e6, smallest_variance=1e-9, cap=1000)


def run(values: Iterable[float], params: Params | None = None, state: State | None = None) -> tuple[State, list[Changepoint]]:
    """Feed values in order."""
    params = params or Params()
    state, views = state or initial(params), []
    for value in values:
        state, view = step(params, state, value)
        views.append(view)
    return state, views


def normal(seed: int, count: int, mean: float = 0.0, deviation: float = 1.0) -> list[float]:
    """Seeded normal noise."""
    chance = random.Random(seed)
    return [chance.gauss(mean, deviation) for _ in range(count)]


def log_evidence(values: Sequence[float], params: Params) -> float:
    """Log marginal likelihood of one segment, in closed form from all its values at once."""
    count = len(values)
    if not count:
        return 0.0
    mean = sum(values) / count
    strength, shape = params.prior_strength + count, params.prior_shape + count / 2
    spread = sum((value - mean) ** 2 for value in values)
    pull = params.prior_strength * count * (mean - params.prior_mean) ** 2 / strength
    scale = params.prior_scale + 0.5 * (spread + pull)
    return (
        math.lgamma(shape)
        - math.lgamma(params.prior_shape)
        + params.prior_shape * math.log(params.prior_scale)
        - shape * math.log(scale)
        + 0.5 * math.log(params.prior_strength / strength)
        - 0.5 * count * math.log(2 * math.pi)
    )


def enumerated(values: Sequence[float], params: Params) -> dict[int, float]:
    """P(run length) by weighing every way to cut the series."""
    hazard, total = 1 / params.expected_run_bars, len(values)
    weights: dict[int, float] = {}
    for cuts in itertools.product((False, True), repeat=total):
        ends = [index + 1 for index, cut in enumerate(cuts) if cut]
        bounds = [0, *ends, total]
        log_weight = sum(math.log(hazard if cut else 1 - hazard) for cut in cuts)
        log_weight += sum(log_evidence(values[start:end], params) for start, end in itertools.pairwise(bounds))
        length = total - (ends[-1] if ends else 0)
        weights[length] = weights.get(length, 0.0) + math.exp(log_weight)
    evidence = math.fsum(weights.values())
    return {length: weight / evidence for length, weight in weights.items()}


@pytest.mark.parametrize("seed", range(4))
def test_posterior_equals_enumeration_of_all_segmentations(seed: int) -> None:
    """The run-length posterior of a short series with a jump equals brute force (B5)."""
    values = normal(seed, 10)
    values[6] += 3
    state, _ = run(values, PLAIN)
    expected = enumerated(values, PLAIN)
    for length, mass in zip(state.run_lengths, state.masses, strict=True):
        assert mass == pytest.approx(expected[length], abs=1e-12)
    assert len(state.run_lengths) == len(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=150))
@settings(max_examples=50, deadline=None)
def test_masses_sum_to_one_and_the_newest_run_has_the_hazard(values: list[float]) -> None:
    """On any data the masses sum to 1 and P(r = 0) is the hazard, so it says nothing (B1)."""
    params = Params(expected_run_bars=250.0)
    state = initial(params)
    for value in values:
        state, view = step(params, state, value)
        assert math.fsum(state.masses) == pytest.approx(1, abs=1e-12)
        assert state.masses[0] == 1 / 250
        assert state.run_lengths[0] == 0
        assert 0 <= view.recent_mass <= 1


def test_memory_and_snapshot_are_bounded() -> None:
    """After thousands of bars there are no more hypotheses than the cap and the snapshot stays small (B2)."""
    state, views = run(normal(1, 2000))
    assert len(state.masses) == Params().cap == 64
    assert len(msgspec.json.encode(state)) < 8000
    assert views[-1].expected_run_length > 1800


def test_cap_hardly_moves_the_posterior() -> None:
    """Dropping the least likely leaves the recent mass within 0.05 of the uncapped one."""
    values = normal(2, 400)
    _, capped = run(values)
    _, whole = run(values, Params(cap=10_000))
    assert max(abs(one.recent_mass - other.recent_mass) for one, other in zip(capped, whole, strict=True)) < 0.05


@pytest.mark.parametrize("value", [1e100, -1e100, 1e160, -1e308])
def test_huge_values_are_clipped(value: float) -> None:
    """A value beyond the clip counts as the clip, and the state stays finite (B3)."""
    before, _ = run(normal(3, 200))
    huge, _ = run([value], state=before)
    clipped, _ = run([math.copysign(4.0, value)], state=before)
    assert huge == clipped
    assert all(map(math.isfinite, (*huge.masses, *huge.means, *huge.scales)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    """NaN and infinity raise; there is no new state to go on with (B3)."""
    with pytest.raises(InvalidRecord, match="invalid-innovation"):
        run([value])


def test_ordinary_value_after_identical_ones_is_no_surprise() -> None:
    """After 1000 equal values the floor on the variance keeps a 1-sd value from raising the alarm (B4)."""
    state, _ = run([0.0] * 1000)
    _, views = run([1.0], state=state)
    assert views[0].action is ChangepointAction.NONE
    without = Params(smallest_variance=1e-9)
    state, _ = run([0.0] * 1000, without)
    _, views = run([1.0], without, state)
    assert views[0].recent_mass > 0.9


def recent_masses(values: Sequence[float], params: Params) -> list[float]:
    """Recent mass after each value, from whole segments at once: a forward pass over the place of the last cut."""
    hazard, masses = 1 / params.expected_run_bars, []
    cut_at = [0.0]  # log probability of values[:t] with a cut after them
    for now in range(1, len(values) + 1):
        weights = [cut_at[start] + log_evidence(values[start:now], params) + (now - start - 1) * math.log(1 - hazard) for start in range(now)]
        top = max(weights)
        evidence = math.fsum(math.exp(weight - top) for weight in weights)
        cut_at.append(top + math.log(evidence) + math.log(hazard))
        recent = math.fsum(math.exp(weights[start] - top) for start in range(max(1, now - params.window_bars), now))
        masses.append((1 - hazard) * recent / evidence)
    return masses


def test_alarm_comes_at_the_exact_index() -> None:
    """On a seeded stream with a shift the alarm comes at the bar where an independent computation crosses the threshold (B5)."""
    params = Params(clip=100.0, smallest_variance=1e-9, cap=1000)
    values = [*normal(4, 150), *normal(5, 30, mean=3.0)]
    expected = recent_masses(values, params)
    alarm = next(index for index, mass in enumerate(expected) if mass > params.alarm_mass)
    _, views = run(values, params)
    assert [view.recent_mass for view in views] == pytest.approx(expected, abs=1e-9)
    actions = [view.action for view in views]
    assert actions.index(ChangepointAction.REDUCE_ONLY) == alarm == 154
    above = [mass > params.alarm_mass for mass in expected]
    assert actions.index(ChangepointAction.FLATTEN) == next(index for index in range(4, len(above)) if all(above[index - 4 : index + 1]))


@pytest.mark.parametrize(
    ("name", "after", "within"),
    [("shift", normal(6, 120, mean=2.0), 20), ("louder", normal(6, 120, deviation=2.0), 40), ("quieter (B9)", normal(6, 120, deviation=1 / 3), 60)],
)
def test_every_kind_of_change_is_found(name: str, after: list[float], within: int) -> None:
    """A shift, a rise and a fall of the variance all raise the alarm in time."""
    _, views = run([*normal(7, 600), *after])
    assert not any(view.action is not ChangepointAction.NONE for view in views[:600]), name
    assert any(view.action is not ChangepointAction.NONE for view in views[600 : 600 + within]), name


def test_action_is_released_once_the_new_regime_is_old_enough() -> None:
    """The action outlives the alarm until the change is no longer recent and the run long enough, then ends."""
    _, views = run([*normal(8, 400), *normal(9, 300, mean=3.0)])
    actions = [view.action for view in views]
    began = next(index for index, action in enumerate(actions) if action is not ChangepointAction.NONE)
    ended = next(index for index in range(began, len(actions)) if actions[index] is ChangepointAction.NONE)
    assert set(actions[began:ended]) <= {ChangepointAction.REDUCE_ONLY, ChangepointAction.FLATTEN}
    assert views[ended].recent_mass < 0.2
    assert views[ended].expected_run_length >= 50
    assert set(actions[ended:]) == {ChangepointAction.NONE}


def test_beginning_of_the_stream_is_no_change() -> None:
    """The first bars raise no alarm although every run is short: nothing has been seen to change."""
    _, views = run(normal(10, 50))
    assert {view.action for view in views} == {ChangepointAction.NONE}


def test_false_alarms_are_rare() -> None:
    """10,000 stationary normal bars raise at most 2 alarms (B8)."""
    _, views = run(normal(11, 10_000))
    began = sum(later.action is not ChangepointAction.NONE and earlier.action is ChangepointAction.NONE for earlier, later in itertools.pairwise(views))
    assert began <= 2


def test_scale_of_the_input_does_not_matter() -> None:
    """Inputs, clip, prior mean and deviation times k give the same posterior (B6)."""
    values, factor = normal(12, 300), 1000.0
    scaled = Params(clip=4 * factor, prior_scale=factor**2, smallest_variance=0.25 * factor**2)
    one, _ = run(values)
    other, _ = run([factor * value for value in values], scaled)
    assert one.run_lengths == other.run_lengths
    assert other.masses == pytest.approx(one.masses, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expected_run_bars", 1.0),
        ("expected_run_bars", 0.0),
        ("expected_run_bars", math.nan),
        ("expected_run_bars", math.inf),
        ("prior_strength", 0.0),
        ("prior_shape", -1.0),
        ("prior_scale", 0.0),
        ("cap", 1),
        ("clip", 0.0),
        ("window_bars", 0),
        ("alarm_mass", 1.0),
        ("release_mass", 0.95),
        ("smallest_variance", 0.0),
        ("flatten_after_bars", 0),
        ("release_run_bars", -1.0),
        ("prior_mean", math.inf),
    ],
)
def test_bad_settings_are_refused_at_construction(name: str, value: float) -> None:
    """A value outside its range is named at once (B7)."""
    with pytest.raises(ConfigurationError, match=name):
        Params(**{name: value})  # type: ignore[arg-type]


def test_restored_state_goes_on_bit_for_bit() -> None:
    """A snapshot in mid-stream, decoded again, gives the same views and the same end state."""
    values = normal(13, 400)
    whole, views = run(values)
    half, first = run(values[:200])
    restored = msgspec.json.decode(msgspec.json.encode(half), type=State)
    end, second = run(values[200:], state=restored)
    assert (first + second, end) == (views, whole)


def test_a_step_stays_cheap() -> None:
    """A step at the cap takes less than half a millisecond even on a busy machine; 60 us is the aim."""
    state, _ = run(normal(14, 300))
    params, best = Params(), math.inf
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(100):
            step(params, state, 0.3)
        best = min(best, (time.perf_counter() - started) / 100)
    assert best < 500e-6
