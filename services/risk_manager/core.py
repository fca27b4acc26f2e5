"""Risk as a pure step: marks close bars, thresholds release the signals, commands act at the next close.

Closing bar k takes the marks of bar k and nothing later, whatever has arrived beyond it, so neither the order in which
topics are read nor how far one runs ahead of another changes a signal.
"""

from collections.abc import Sequence
from typing import assert_never

import msgspec

from common.errors import InvalidRecord
from common.market import MOST_BARS_SKIPPED
from common.messages import BarStatus, Changepoint, ChangepointAction, Command, Feed, Mark, ModelStatus, RiskSignal, Thresholds, strictest
from common.plausible import require_money, require_thresholds
from services.risk_manager import changepoint
from services.risk_manager.halts import latch, obey
from services.risk_manager.portfolio import BarKey, book, grants, key_of
from services.risk_manager.recorded import Closing, Recorded
from services.risk_manager.rules import evaluate, tripped
from services.risk_manager.state import Close, Inbox, Memory, Params, RiskState, drop_reason, oldest_mark


class GraceOver(msgspec.Struct, frozen=True):
    """Live only: no longer wait for the marks of this bar."""

    key: BarKey


Input = Mark | Thresholds | Command | GraceOver


def step(params: Params, state: RiskState, message: Input) -> tuple[RiskState, Sequence[RiskSignal]]:
    """Apply one input.

    Parameters
    ----------
    params
        Pairs and limits.
    state
        State before the input.
    message
        A mark or thresholds of a pair, in bar order per pair; a command, in order of its id; or the end of a live grace.

    Returns
    -------
    tuple of RiskState and sequence of RiskSignal
        The state after it, and one signal for every pair and bar that is now complete, in bar order per pair.

    Raises
    ------
    InvalidRecord
        When a mark's money is no finite number or its bar lies absurdly far ahead; the state stays as it was.

    """
    match message:
        case Command():
            return msgspec.structs.replace(state, commands=(*state.commands, message)), ()
        case GraceOver():
            return _answer_since(params, state, _close_through(params, state, message.key))
        case Mark():
            return _answer_since(params, state, _close_complete(params, _hold_mark(state, message)))
        case Thresholds():
            held = _hold_thresholds(state, message)
            return (state, ()) if held is state else _release(params, held, {message.pair}, 0)
        case _:
            assert_never(message)


def welcome(params: Params, state: RiskState) -> tuple[RiskState, Sequence[RiskSignal]]:
    """Tell pairs that have joined, or come back, in the middle of a session where the portfolio stands after the last closed bar.

    Execution may hold records of bars that were closed without the pair, before it was configured or since; nothing else
    would ever let them go.
    """
    signals = []
    memories = dict(state.memories)
    for pair in params.pairs:
        if (close := _joined_after(params, state, pair)) is not None:
            signal = _signal(params, close, pair, _not_there(pair, close.key), memories[pair].view)
            memories[pair] = msgspec.structs.replace(memories[pair], signal=signal)
            signals.append(signal)
    return (msgspec.structs.replace(state, memories=memories), signals) if signals else (state, ())


def _joined_after(params: Params, state: RiskState, pair: str) -> Close | None:
    """The last closed bar, if it was closed without the pair, which has not passed it, and no signal of it is known or to come."""
    portfolio, signal = state.portfolio, state.memories[pair].signal
    known = pair in portfolio.accounts or state.inboxes[pair].marks or any(pair in close.waiting for close in state.closes)
    if portfolio.closed is None or known or (signal and (signal.session, signal.bar) >= portfolio.closed):
        return None
    granted = grants(params.limits, portfolio, params.pairs)
    return Close(key=portfolio.closed, evidence=portfolio.evidence, grants=granted, commands_through=portfolio.commands_through, waiting=())


def _not_there(pair: str, key: BarKey) -> Thresholds:
    return Thresholds(
        pair=pair,
        seq=0,
        session=key.session,
        bar=key.bar,
        bar_status=BarStatus.MISSING,
        status=ModelStatus.DEGRADED,
        feed=Feed.RECORDING,
        reason="the bar was closed before the pair joined",
    )


def _hold_mark(state: RiskState, mark: Mark) -> RiskState:
    if drop_reason(state, mark):
        return state
    closed = state.portfolio.closed
    require_money(mark)
    if closed and closed.session == mark.session and mark.bar - closed.bar > MOST_BARS_SKIPPED:
        raise InvalidRecord("bar-jump", f"mark of {mark.pair} at bar {mark.bar}: more than {MOST_BARS_SKIPPED} bars after bar {closed.bar}")
    inbox = state.inboxes[mark.pair]
    return _with_inbox(state, mark.pair, msgspec.structs.replace(inbox, marks=(*inbox.marks, mark)))


def _hold_thresholds(state: RiskState, thresholds: Thresholds) -> RiskState:
    if drop_reason(state, thresholds):
        return state
    require_thresholds(thresholds)
    inbox = state.inboxes[thresholds.pair]
    return _with_inbox(state, thresholds.pair, msgspec.structs.replace(inbox, thresholds=(*inbox.thresholds, thresholds)))


def _with_inbox(state: RiskState, pair: str, inbox: Inbox) -> RiskState:
    return msgspec.structs.replace(state, inboxes=state.inboxes | {pair: inbox})


# --- closing bars ----------------------------------------------------------------------------------------------------


def _close_complete(params: Params, state: RiskState) -> RiskState:
    """Close every bar of which each pair has sent its mark, or a later one."""
    if params.recorded:
        return _close_as_recorded(params, params.recorded, state)
    while (oldest := oldest_mark(state)) and all(inbox.marks or _has_joined(state, pair, oldest) for pair, inbox in state.inboxes.items()):
        state = _close_next(params, state)
    return state


def _close_as_recorded(params: Params, recorded: Recorded, state: RiskState) -> RiskState:
    """Close the bars that were closed, each on the marks and with the commands that were there then."""
    while closing := recorded.after(state.portfolio.closed):
        state = _without_late_marks(state, closing)
        if not all(inbox.marks or pair in closing.missing for pair, inbox in state.inboxes.items()):
            return state
        commands = recorded.commands_between(state.portfolio.commands_through, closing.commands_through)
        state = _close(params, msgspec.structs.replace(state, commands=commands), closing.key, closing.missing)
    return state


def _without_late_marks(state: RiskState, closing: Closing) -> RiskState:
    """Drop the marks that came after their bar had been closed."""
    for pair, inbox in state.inboxes.items():
        kept = tuple(mark for mark in inbox.marks if key_of(mark) >= closing.key and not (key_of(mark) == closing.key and pair in closing.missing))
        if len(kept) < len(inbox.marks):
            state = _with_inbox(state, pair, msgspec.structs.replace(inbox, marks=kept))
    return state


def _close_through(params: Params, state: RiskState, key: BarKey) -> RiskState:
    while (oldest := oldest_mark(state)) and key_of(oldest) <= key:
        state = _close_next(params, state)
    return state


def _close_next(params: Params, state: RiskState) -> RiskState:
    """Close the bar after the last closed one; in a new session, the first that has a mark."""
    oldest = oldest_mark(state)
    assert oldest is not None
    key, closed = key_of(oldest), state.portfolio.closed
    if closed and closed.session == key.session:
        key = BarKey(closed.session, closed.bar + 1)
    marks = _marks_of(state, key)
    expected = (pair for pair in params.pairs if _is_expected(state, pair, key) and not _has_joined(state, pair, oldest))
    return _close(params, state, key, [pair for pair in expected if pair not in marks])


def _marks_of(state: RiskState, key: BarKey) -> dict[str, Mark]:
    return {pair: inbox.marks[0] for pair, inbox in state.inboxes.items() if inbox.marks and key_of(inbox.marks[0]) == key}


def _close(params: Params, state: RiskState, key: BarKey, missing: Sequence[str]) -> RiskState:
    """Close a bar on the marks that are there, with the commands that are pending."""
    marks = _marks_of(state, key)
    portfolio = obey(book(state.portfolio, key, marks, missing, params.bar_interval_ns), state.commands)
    portfolio = latch(portfolio, tripped(params.limits, portfolio.evidence))
    granted = grants(params.limits, portfolio, params.pairs)
    portfolio = msgspec.structs.replace(portfolio, granted_usd={pair: grant.budget_usd for pair, grant in granted.items()})
    used = {pair: msgspec.structs.replace(state.inboxes[pair], marks=state.inboxes[pair].marks[1:]) for pair in marks}
    close = Close(
        key=key,
        evidence=portfolio.evidence,
        grants=granted,
        commands_through=portfolio.commands_through,
        waiting=tuple(pair for pair in params.pairs if pair in marks or pair in missing),
    )
    return msgspec.structs.replace(state, portfolio=portfolio, inboxes=state.inboxes | used, closes=(*state.closes, close), commands=())


def _has_joined(state: RiskState, pair: str, oldest: Mark) -> bool:
    """Whether the session has begun without the pair, which no mark is due of before the next one.

    From a recording the first close of a session has the marks of all pairs; live, one that is late is missing.
    """
    closed = state.portfolio.closed
    begun = closed is not None and closed.session == oldest.session
    return begun and oldest.feed is Feed.RECORDING and pair not in state.portfolio.accounts


def _is_expected(state: RiskState, pair: str, key: BarKey) -> bool:
    """Whether the pair owes a mark of the bar: not while its first one in the session is known to lie ahead."""
    account = state.portfolio.accounts.get(pair)
    has_begun = account is not None and account.key.session == key.session
    return has_begun or not state.inboxes[pair].marks


# --- signals ---------------------------------------------------------------------------------------------------------


def _answer_since(params: Params, before: RiskState, state: RiskState) -> tuple[RiskState, Sequence[RiskSignal]]:
    """Release the signals of the bars that a step has closed; a bar closed earlier waits for thresholds, not for marks."""
    if state.closes is before.closes:
        return state, ()
    state, signals = _release(params, state, {pair for pair, inbox in state.inboxes.items() if inbox.thresholds}, len(before.closes))
    state, told = welcome(params, state)
    return state, (*signals, *told)


def _release(params: Params, state: RiskState, ready: set[str], first: int) -> tuple[RiskState, Sequence[RiskSignal]]:
    """Give the pairs that have thresholds their signals of the closed bars, from the bar in place `first` on."""
    if not ready or first == len(state.closes):
        return state, ()
    memories, inboxes, closes = dict(state.memories), dict(state.inboxes), list(state.closes)
    signals: list[RiskSignal] = []
    complete = []
    for place in range(first, len(closes)):
        close = closes[place]
        answered = set()
        for pair in [pair for pair in close.waiting if pair in ready]:
            memories[pair], inboxes[pair], thresholds = _take(params, memories[pair], inboxes[pair], close.key)
            if thresholds:
                signal = _signal(params, close, pair, thresholds, memories[pair].view)
                memories[pair] = msgspec.structs.replace(memories[pair], signal=signal)
                signals.append(signal)
                answered.add(pair)
        if answered:
            closes[place] = msgspec.structs.replace(close, waiting=tuple(pair for pair in close.waiting if pair not in answered))
            complete += [] if closes[place].waiting else [place]
        ready = {pair for pair in ready if inboxes[pair].thresholds}
        if not ready:
            break
    for place in reversed(complete):
        del closes[place]
    return msgspec.structs.replace(state, memories=memories, inboxes=inboxes, closes=tuple(closes)), signals


def _take(params: Params, memory: Memory, inbox: Inbox, key: BarKey) -> tuple[Memory, Inbox, Thresholds | None]:
    """Take the thresholds of a bar from the inbox; a bar that they skip is filled in, None means that they may yet come."""
    held = list(inbox.thresholds)
    while held and key_of(held[0]) < key:
        memory = _watch(params, memory, held.pop(0))
    found = None
    if held and key_of(held[0]) == key:
        found = held.pop(0)
        memory = _watch(params, memory, found)
    elif held:
        found = _filled_in(held[0], key)
    return memory, msgspec.structs.replace(inbox, thresholds=tuple(held)), found


def _watch(params: Params, memory: Memory, thresholds: Thresholds) -> Memory:
    """Let the detector see a bar; it starts anew with each market session."""
    key = key_of(thresholds)
    detector, view = memory.detector, memory.view
    if memory.watched is None or memory.watched.session != key.session:
        detector, view = changepoint.initial(params.changepoint), Changepoint()
    if thresholds.standardised_innovation is not None and thresholds.bar_status is BarStatus.FRESH:
        detector, view = changepoint.step(params.changepoint, detector, thresholds.standardised_innovation)
    began = view.action not in {ChangepointAction.NONE, memory.view.action}
    actions = memory.changepoint_actions + began
    return msgspec.structs.replace(memory, detector=detector, view=view, watched=key, changepoint_actions=actions)


def _filled_in(later: Thresholds, key: BarKey) -> Thresholds:
    """Stand in for thresholds that never came: nothing may be entered on them."""
    return Thresholds(
        pair=later.pair,
        seq=later.seq,
        session=key.session,
        bar=key.bar,
        bar_status=BarStatus.MISSING,
        status=ModelStatus.DEGRADED,
        feed=later.feed,
        reason="no thresholds for this bar",
    )


def _signal(params: Params, close: Close, pair: str, thresholds: Thresholds, view: Changepoint) -> RiskSignal:
    evidence = msgspec.structs.replace(
        close.evidence,
        halts=tuple(halt for halt in close.evidence.halts if halt.binds(pair)),
        bar_status=thresholds.bar_status,
        model_status=thresholds.status,
        model_age_bars=thresholds.model_age_bars,
        changepoint=view,
    )
    reasons = evaluate(params.limits, evidence)
    grant = close.grants[pair]
    return RiskSignal(
        pair=pair,
        session=close.key.session,
        bar=close.key.bar,
        verdict=strictest(*(result.verdict for result in reasons)),
        budget_usd=grant.budget_usd,
        orders_allowed=grant.orders_allowed,
        commands_through=close.commands_through,
        reasons=reasons,
        thresholds=thresholds,
        changepoint=view,
        marks_missing=close.evidence.missing,
    )
