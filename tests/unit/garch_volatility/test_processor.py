"""The volatility model's protocol: one answer a bar, the fit-delay rule, the fallback."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED, Pair
from common.messages import BarStatus, HedgeRatioClose, Message, ModelStatus, Thresholds, VolatilityModel
from services.garch_volatility.fitting import Fits
from services.garch_volatility.processor import GarchModel, GarchParameters, GarchState
from services.garch_volatility.volatility import Fit, filtered, garch, level_variance
from tests.unit.garch_volatility.builders import GOOD_FIT, PAIR, ScriptedFits, answer, reverting
from tests.unit.kalman_filter.builders import BAR_NS

#: Small numbers keep the tests short; the settings have their own floor.
PARAMETERS = GarchParameters(start_bars=30, minimum_bars=60, window_bars=80, refit_bars=20, fit_delay_bars=3, max_age_bars=50)
REFUSED = Fit(reason="no convergence")


def model_with(fits: Fits) -> GarchModel:
    """The model with the small numbers."""
    return GarchModel(PARAMETERS, BAR_NS, fits)


def run(model: GarchModel, messages: Sequence[Message], state: GarchState | None = None) -> tuple[GarchState, list[Thresholds]]:
    """Apply messages in order."""
    state, outputs = state or model.initial(PAIR), []
    for message in messages:
        state, answers = model.step(state, message)
        outputs += [output for output in answers if isinstance(output, Thresholds)]
    return state, outputs


def bars(count: int, first: int = 100) -> list[HedgeRatioClose]:
    """FRESH bars with reverting innovations."""
    return [answer(first + index, innovation) for index, innovation in enumerate(reverting(1, count))]


def test_each_bar_has_one_answer() -> None:
    """Every bar close is answered by exactly one record of the same bar and seq."""
    messages = bars(40)
    _, outputs = run(model_with(ScriptedFits(GOOD_FIT)), messages)
    assert [(output.bar, output.seq) for output in outputs] == [(message.close.bar, message.close.seq) for message in messages]


def test_warming_then_labelled_fallback() -> None:
    """Before enough innovations there is no model and WARMING says how many; then EWMA, READY, until a fit is accepted."""
    _, outputs = run(model_with(ScriptedFits(GOOD_FIT)), bars(65))
    assert {(output.status, output.volatility_model, output.forecast_variance) for output in outputs[:29]} == {
        (ModelStatus.WARMING, VolatilityModel.NONE, 0.0),
    }
    assert outputs[9].reason == "10 of 30 innovations"
    assert {(output.status, output.volatility_model) for output in outputs[29:62]} == {(ModelStatus.READY, VolatilityModel.EWMA)}
    assert outputs[29].standardised_innovation is None
    assert all(output.standardised_innovation is not None for output in outputs[30:])


def test_filters_status_is_passed_on() -> None:
    """While the filter warms up or is degraded the answer says so, and its innovation is not used."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(40))
    for status in (ModelStatus.WARMING, ModelStatus.DEGRADED):
        after, outputs = run(model, [answer(140, 0.5, status=status)], state)
        assert (outputs[0].status, outputs[0].innovation, outputs[0].standardised_innovation) == (status, None, None)
        assert after.volatility == state.volatility


@pytest.mark.parametrize("bar_status", [BarStatus.STALE, BarStatus.EMPTY, BarStatus.MISSING])
def test_forecast_is_carried_over_bars_without_data(bar_status: BarStatus) -> None:
    """A bar that is not FRESH is answered with the forecast as it was."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, before = run(model, bars(40))
    _, after = run(model, [answer(140, None, bar_status=bar_status)], state)
    assert after[0].forecast_variance == before[-1].forecast_variance
    assert (after[0].bar_status, after[0].innovation) == (bar_status, None)


def test_fit_takes_effect_exactly_at_its_bar() -> None:
    """Asked for at the first bar with enough data, the new parameters are in use from three bars later, not before or after."""
    fits = ScriptedFits(GOOD_FIT)
    messages = bars(100)
    _, outputs = run(model_with(fits), messages)
    assert [request.bar for request in fits.started] == [159, 179, 199]
    assert fits.started[0].innovations == tuple(message.estimate.innovation for message in messages[:60] if message.estimate)
    assert next(output.bar for output in outputs if output.volatility_model is VolatilityModel.GARCH) == 162
    assert [output.model_age_bars for output in outputs[62:84]] == [*range(20), 0, 1]
    expected = filtered(garch(GOOD_FIT), [message.estimate.innovation for message in messages[:63] if message.estimate])
    assert outputs[62].forecast_variance == level_variance(expected)
    assert (outputs[-1].fits_accepted, outputs[-1].fits_refused) == (2, 0)


def test_fit_sees_the_data_of_its_bar_however_late_it_is_asked() -> None:
    """What the result is asked with equals what the fit was started with, also once the window moves (Alignment 8)."""
    fits = ScriptedFits(GOOD_FIT)
    run(model_with(fits), bars(250))
    assert len(fits.asked) >= 8
    assert fits.asked == fits.started[: len(fits.asked)]
    assert {len(request.innovations) for request in fits.asked[2:]} == {80}


@pytest.mark.parametrize("cut", [159, 160, 161])
def test_restoring_with_a_pending_fit_changes_nothing(cut: int) -> None:
    """A snapshot taken while a fit is pending, restored beside fits that know nothing of it, gives bit-equal outputs."""
    messages = bars(100)
    split = cut - 100 + 1
    _, whole = run(model_with(ScriptedFits(GOOD_FIT)), messages)
    state, first = run(model_with(ScriptedFits(GOOD_FIT)), messages[:split])
    assert state.pending
    restored = msgspec.json.decode(msgspec.json.encode(state), type=GarchState)
    fits = ScriptedFits(GOOD_FIT)
    _, second = run(model_with(fits), messages[split:], restored)
    assert first + second == whole
    assert fits.asked[0].bar == 159


def test_refused_fit_keeps_the_last_good_one_until_it_is_too_old() -> None:
    """A refused fit is counted and explained; the model in use goes on, past its age EWMA takes over and says why, and the age goes on."""
    fits = ScriptedFits(GOOD_FIT)
    model, messages = model_with(fits), bars(150)
    state, _ = run(model, messages[:63])
    fits.fit = REFUSED
    _, outputs = run(model, messages[63:], state)
    by_bar = {output.bar: output for output in outputs}
    assert (by_bar[182].fits_refused, by_bar[182].volatility_model) == (1, VolatilityModel.GARCH)
    assert by_bar[182].reason == "fit refused: no convergence"
    assert (by_bar[212].volatility_model, by_bar[212].model_age_bars) == (VolatilityModel.GARCH, 50)
    assert (by_bar[213].volatility_model, by_bar[213].model_age_bars) == (VolatilityModel.EWMA, 51)
    assert by_bar[249].model_age_bars == 87
    assert by_bar[213].reason.startswith("EWMA, since no fit has been accepted for 51 bars")
    assert by_bar[213].status is ModelStatus.READY


def test_skipped_bars_are_answered_first_as_missing() -> None:
    """A close beyond the next bar answers each one in between, in order, as MISSING."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(40))
    _, outputs = run(model, [answer(143, 1e-4)], state)
    assert [(output.bar, output.bar_status) for output in outputs] == [
        (140, BarStatus.MISSING),
        (141, BarStatus.MISSING),
        (142, BarStatus.MISSING),
        (143, BarStatus.FRESH),
    ]


def test_a_restored_state_begins_its_pending_fit_at_once() -> None:
    """Resuming asks for the fit that was under way, so that its bar does not wait for it; without one for none."""
    fits = ScriptedFits(GOOD_FIT)
    state, _ = run(model_with(fits), bars(61))
    assert state.pending
    elsewhere = ScriptedFits(GOOD_FIT)
    model_with(elsewhere).resume(model_with(elsewhere).initial(PAIR))
    assert elsewhere.started == []
    model_with(elsewhere).resume(state)
    assert elsewhere.started == fits.started


def test_pending_fit_takes_effect_at_a_missing_bar() -> None:
    """The fit-delay rule counts bars, also those that were skipped."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(60))
    _, outputs = run(model, [answer(164, 1e-4)], state)
    assert [output.volatility_model for output in outputs] == [
        VolatilityModel.EWMA,
        VolatilityModel.EWMA,
        *[VolatilityModel.GARCH] * 3,
    ]


def test_answered_bar_is_dropped() -> None:
    """A bar that has been answered, or of an older session, changes nothing."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, [*bars(3), answer(50, 1e-4, session=1)])
    for message, reason in ((answer(50, 2e-4, session=1), "closed-bar"), (answer(500, 2e-4), "old-session")):
        assert model.drop_reason(state, message) == reason
        assert model.step(state, message) == (state, ())


def test_new_session_starts_afresh_and_keeps_the_counters() -> None:
    """Another session forgets window, model and pending fit; how many fits were accepted is history."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(70))
    assert state.fits_accepted == 1
    after, outputs = run(model, [answer(5, 1e-4, session=1)], state)
    assert len(outputs) == 1
    assert (outputs[0].status, outputs[0].fits_accepted) == (ModelStatus.WARMING, 1)
    assert (len(after.window), after.volatility, after.pending) == (1, None, None)


@pytest.mark.parametrize("innovation", [math.nan, math.inf, -math.inf])
def test_estimate_that_is_no_number_is_refused(innovation: float) -> None:
    """Such a record raises and leaves the state alone; its bar is answered as MISSING by the next (G6)."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(40))
    with pytest.raises(InvalidRecord, match="invalid-estimate"):
        model.step(state, answer(140, innovation))
    _, outputs = run(model, [answer(141, 1e-4)], state)
    assert [output.bar_status for output in outputs] == [BarStatus.MISSING, BarStatus.FRESH]


def test_absurd_bar_is_refused() -> None:
    """A bar number far in the future is a broken record: nothing is filled in."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(3))
    with pytest.raises(InvalidRecord, match="bar-jump"):
        model.step(state, answer(103 + MOST_BARS_SKIPPED, 1e-4))


def test_zeros_never_divide() -> None:
    """Innovations of exactly 0 give a positive variance, finite thresholds and z of 0 (G1)."""
    model = model_with(ScriptedFits(REFUSED))
    _, outputs = run(model, [answer(100 + index, 0.0) for index in range(100)])
    assert all(output.forecast_variance > 0 and math.isfinite(output.entry_z) for output in outputs[30:])
    assert {output.standardised_innovation for output in outputs[30:]} == {0.0}


def test_parameter_variance_widens_the_scale() -> None:
    """The same surprise counts for less when the filter is unsure of its parameters."""
    model = model_with(ScriptedFits(GOOD_FIT))
    state, _ = run(model, bars(40))
    _, sure = run(model, [answer(140, 2e-3)], state)
    _, unsure = run(model, [answer(140, 2e-3, parameter_variance=1e-5)], state)
    assert sure[0].standardised_innovation
    assert unsure[0].standardised_innovation
    assert abs(unsure[0].standardised_innovation) < abs(sure[0].standardised_innovation)


def test_state_stays_small() -> None:
    """With the default window and a fit pending the snapshot stays below 40 KB."""
    model = GarchModel(GarchParameters(), BAR_NS, ScriptedFits(GOOD_FIT))
    state, _ = run(model, [answer(100 + index, innovation) for index, innovation in enumerate(reverting(2, 1201))])
    assert state.pending
    assert len(msgspec.json.encode(state)) < 40_000
    assert str(Pair.parse(state.pair)) == PAIR
