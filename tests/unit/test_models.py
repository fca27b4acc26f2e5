"""What every model owes, whatever it models."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from common.errors import InvalidRecord
from common.messages import BarStatus, HedgeRatio, HedgeRatioClose, Message, Progress, Thresholds
from common.processor import Model
from services.garch_volatility.processor import GarchModel, GarchParameters
from services.kalman_filter.filter import FilterParameters
from services.kalman_filter.processor import KalmanModel
from tests.unit.garch_volatility.builders import GOOD_FIT, ScriptedFits, answer, reverting
from tests.unit.kalman_filter.builders import BAR_NS, PAIR, close, stream, tick

BARS = 120


@dataclass(frozen=True)
class Case:
    """A model and a stream of its inputs, with skipped bars and a second session in it."""

    name: str
    model: Model[Any]
    messages: Sequence[Message]


def kalman() -> Case:
    """The filter, past its warm-up."""
    messages: list[Message] = list(stream(1, BARS))
    later = [tick(1000, 230), close(1001, 230, BarStatus.STALE), close(1002, 234), tick(1003, 5, session=1), close(1004, 5, session=1)]
    return Case("kalman", KalmanModel(FilterParameters(warm_up_bars=30), BAR_NS), [*messages, *later])


def garch() -> Case:
    """The volatility model, with fits on the way."""
    parameters = GarchParameters(start_bars=30, minimum_bars=60, window_bars=80, refit_bars=20)
    messages: list[Message] = [answer(100 + index, innovation, parameter_variance=1e-9) for index, innovation in enumerate(reverting(1, BARS))]
    return Case("garch", GarchModel(parameters, BAR_NS, ScriptedFits(GOOD_FIT)), [*messages, answer(224, None), answer(5, 1e-4, session=1)])


CASES = [kalman(), garch()]
every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def run(case: Case, messages: Sequence[Message], state: Any = None) -> tuple[Any, list[Message]]:
    """Apply messages in order."""
    state = case.model.initial(PAIR) if state is None else state
    outputs: list[Message] = []
    for message in messages:
        state, answers = case.model.step(state, message)
        outputs += answers
    return state, outputs


def key(output: Message) -> tuple[str, int, int]:
    """Pair, session and seq of an output."""
    match output:
        case HedgeRatio():
            return output.tick.pair, output.tick.session, output.tick.seq
        case HedgeRatioClose():
            return output.close.pair, output.close.session, output.close.seq
        case Thresholds():
            return output.pair, output.session, output.seq
        case _:
            raise AssertionError(output)


@every_model
def test_equal_inputs_give_equal_results(case: Case) -> None:
    """Two runs give equal states and outputs, and each step can be repeated from its state."""
    assert run(case, case.messages) == run(case, case.messages)
    state, _ = run(case, case.messages[:50])
    assert case.model.step(state, case.messages[50]) == case.model.step(state, case.messages[50])


@every_model
def test_inputs_are_not_changed(case: Case) -> None:
    """State and message are after a step what they were before."""
    state = case.model.initial(PAIR)
    for message in case.messages:
        before = copy.deepcopy((state, message))
        after, _ = case.model.step(state, message)
        assert (state, message) == before
        state = after


@every_model
@pytest.mark.parametrize("cut", [0, 1, 31, 62, 63, 64, 119])
def test_snapshot_in_mid_stream_changes_nothing(case: Case, cut: int) -> None:
    """A state that went through JSON goes on bit for bit like one that did not (K10)."""
    whole = run(case, case.messages)
    state, first = run(case, case.messages[:cut])
    restored = msgspec.json.decode(msgspec.json.encode(state), type=case.model.state_type)
    assert restored == state
    end, second = run(case, case.messages[cut:], restored)
    assert (end, first + second) == whole


@every_model
def test_later_data_do_not_change_earlier_outputs(case: Case) -> None:
    """Outputs up to an input do not depend on what follows (K12)."""
    _, whole = run(case, case.messages)
    _, first = run(case, case.messages[:80])
    assert whole[: len(first)] == first


@every_model
def test_outputs_carry_pair_and_seq_of_their_input(case: Case) -> None:
    """Each output names its pair and the session and seq of the input that caused it."""
    state = case.model.initial(PAIR)
    for message in case.messages:
        state, outputs = case.model.step(state, message)
        causes = message.close if isinstance(message, HedgeRatioClose) else message
        assert {key(output) for output in outputs} <= {(PAIR, causes.session, causes.seq)}  # type: ignore[attr-defined] # every input has them


@every_model
def test_repeated_input_is_dropped_with_a_reason(case: Case) -> None:
    """Applying an input again changes nothing, answers nothing and has a reason (K3, S1)."""
    state = case.model.initial(PAIR)
    for message in case.messages:
        state, _ = case.model.step(state, message)
        assert case.model.drop_reason(state, message), message  # type: ignore[attr-defined] # optional in the protocol
        assert case.model.step(state, message) == (state, ())


@every_model
def test_every_bar_is_answered_once_and_in_order(case: Case) -> None:
    """The bars of the answers to bar closes are gapless within a session."""
    _, outputs = run(case, case.messages)
    closes = [output.close if isinstance(output, HedgeRatioClose) else output for output in outputs if isinstance(output, HedgeRatioClose | Thresholds)]
    bars = [each.bar for each in closes if each.session == 0]
    assert bars == list(range(100, bars[-1] + 1))
    assert len(closes) > len(bars)


@every_model
def test_foreign_message_is_refused(case: Case) -> None:
    """A message of another topic raises and leaves the state alone."""
    state, _ = run(case, case.messages[:10])
    with pytest.raises(InvalidRecord, match="unexpected-message"):
        case.model.step(state, Progress(decided={}))


@every_model
def test_snapshot_is_small(case: Case) -> None:
    """A snapshot stays far below what a broker takes."""
    state, _ = run(case, case.messages[:BARS])
    assert len(msgspec.json.encode(state)) < 40_000
