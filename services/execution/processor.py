"""Execution's core: one pair's state and one input give the next state and what there is to say. Pure, in event time."""

from collections.abc import Sequence

from common.messages import (
    Action,
    BarStatus,
    Command,
    CommandApplied,
    CommandKind,
    Execution,
    ExposureStop,
    HedgeMessage,
    HedgeRatio,
    HedgeRatioClose,
    HoldExpired,
    Mark,
    PositionState,
    RiskSignal,
    StopCause,
    Tick,
    Verdict,
    strictest,
)
from services.execution import funding, position, strategy
from services.execution.account import equity_usd, value
from services.execution.state import Change, Hold, PairState, Params, Where, risk_of, where

#: What a command that is obeyed at once asks for; resume acts by signal only.
_OWN_VERDICTS = {CommandKind.HALT: Verdict.HALTED, CommandKind.FLATTEN: Verdict.FLATTEN}


def step(params: Params, state: PairState, message: HedgeMessage, signal: RiskSignal | None = None) -> tuple[PairState, Sequence[Execution]]:
    """Apply a record of `hedge-ratios`.

    Parameters
    ----------
    params, state
        Of the record's pair.
    message
        The next record of the pair; `services.execution.hold` has dropped repetitions and held it back long enough.
    signal
        The risk signal of the bar before the record's; None when there is none, and within a bar already begun.

    Returns
    -------
    The state after it, and what happened, in order; nothing for a tick that changes nothing.

    Raises
    ------
    InvariantBroken
        When the pair's books do not close.
    """
    at = where(message)
    change = Change(params, state, at)
    if at.session != state.session:
        _begin_session(change)
    elif at.bar > state.bar:
        _begin_bar(change, signal)
    _note_gap(change, message)
    if isinstance(message, HedgeRatio):
        _tick(change, message)
    else:
        _close(change, message)
    return change.state, change.outputs


def expire(params: Params, state: PairState, bar: int) -> tuple[PairState, Sequence[Execution]]:
    """Begin a live bar without its signal: the one in use stays, and only to reduce."""
    change = Change(params, state, Where(state.session, bar, max(state.last_seq, 0), state.event_time_ns))
    _open_bar(change, Hold.EXPIRED)
    change.emit(HoldExpired, risk_bar=state.risk.bar if state.risk else -1)
    return change.state, change.outputs


def obey(params: Params, state: PairState, command: Command) -> tuple[PairState, Sequence[Execution]]:
    """Apply halt and flatten at once; the stricter of it and the signal's verdict holds until a signal has passed the command.

    Resume acts by signal only, so it leaves no trace here: whatever is applied is committed, for a replay to read.
    """
    wanted = _OWN_VERDICTS.get(command.kind)
    if wanted is None or command.id <= state.last_command_id:
        return state, ()
    change = Change(params, state, _after(state))
    change.set(last_command_id=command.id, own_verdict=strictest(wanted, state.own_verdict))
    change.emit(CommandApplied, command_id=command.id, kind=command.kind)
    return change.state, change.outputs


def limit_exposure(
    params: Params, state: PairState, *, stopped: bool, reason: str, cause: StopCause = StopCause.DEAD_LETTERS
) -> tuple[PairState, Sequence[Execution]]:
    """Stop new exposure, or allow it again as far as this cause goes; what works towards some is cancelled at the next tick."""
    field = "exposure_stop" if cause is StopCause.DEAD_LETTERS else "old_data"
    if bool(getattr(state, field)) is stopped:
        return state, ()
    change = Change(params, state, _after(state))
    change.set(**{field: reason if stopped else ""})
    change.emit(ExposureStop, stopped=stopped, reason=reason, cause=cause)
    return change.state, change.outputs


def _after(state: PairState) -> Where:
    """The place of what happens between two records."""
    return Where(max(state.session, 0), max(state.bar, 0), max(state.last_seq, 0), state.event_time_ns)


def _note_gap(change: Change, message: HedgeMessage) -> None:
    """A missing record may have held anything: no new exposure for the rest of the bar in which that shows."""
    if isinstance(message, HedgeRatioClose) and message.close.status is BarStatus.MISSING:
        # The record that revealed the gap lies in a later bar.
        change.set(gap_bar=change.at.bar + 1)
    elif 0 <= change.state.last_seq < change.at.seq - 1:
        change.set(gap_bar=change.at.bar)


def _begin_session(change: Change) -> None:
    """Close what the last session left, at its last book; the first bar takes no exposure."""
    hedge = change.state.hedge
    if change.state.position.state is not PositionState.IDLE and hedge:
        position.cancel_orders(change, "a new market session begins")
        if change.state.account.flat:
            position.finish(change)
        else:
            position.close(change, Action.FLATTEN, "a new market session begins", None)
            position.close_at_book(change, hedge.tick)
    session, bar, _, _ = change.at
    change.set(session=session, closed_bar=bar - 1, hedge=None, risk=None, cool_until_bar=0, y_funding=None, x_funding=None, ended=False)
    _open_bar(change, Hold.FIRST_BAR)


def _begin_bar(change: Change, signal: RiskSignal | None) -> None:
    """Take up the signal of the bar before; without it the last one stays, and only to reduce."""
    if signal is None:
        _open_bar(change, Hold.MISSING)
        return
    passed = signal.commands_through >= change.state.last_command_id
    change.set(risk=risk_of(signal), own_verdict=Verdict.ACTIVE if passed else change.state.own_verdict)
    _open_bar(change, Hold.NONE)


def _open_bar(change: Change, hold: Hold) -> None:
    change.set(bar=change.at.bar, hold=hold, orders_in_bar=0, z=None, blocking_gate="")


def _tick(change: Change, hedge: HedgeRatio) -> None:
    tick = hedge.tick
    if change.state.y_funding or change.state.x_funding:
        funding.pay_at_instant(change, tick)
    if change.state.position.state is not PositionState.IDLE:
        position.measure_unhedged(change, tick.event_time_ns)
        position.take_fills(change, tick)
        position.settle(change, tick)
        position.keep_in_time(change, tick)
        position.settle(change, tick)
    signal = strategy.standardise(hedge, change.state.risk)
    blocking_gate = ""
    match change.state.position.state:
        case PositionState.IDLE:
            blocking_gate = _consider_entry(change, hedge, signal)
        case PositionState.OPEN:
            _consider_leaving(change, tick, signal)
        case _:
            pass
    change.set(last_seq=tick.seq, event_time_ns=tick.event_time_ns, hedge=hedge, z=signal.z if signal else None, blocking_gate=blocking_gate)


def _consider_entry(change: Change, hedge: HedgeRatio, signal: strategy.Signal | None) -> str:
    """Enter when every gate lets through; returns the first that does not."""
    at = strategy.look(change.params, change.state, hedge, signal)
    blocking_gate = strategy.first_block(at)
    if not blocking_gate and signal and at.risk:
        position.enter(change, hedge.tick, strategy.terms(at, signal, at.risk), strategy.size(at).y, strategy.gates(at))
    return blocking_gate


def _consider_leaving(change: Change, tick: Tick, signal: strategy.Signal | None) -> None:
    terms = change.state.position.terms
    decision = strategy.leave(change.params, change.state, terms, tick, signal) if terms else None
    if decision:
        position.close(change, decision.action, decision.reason, signal.z if signal else None)
        position.settle(change, tick)


def _close(change: Change, message: HedgeRatioClose) -> None:
    close = message.close
    book = message.last_tick or (change.state.hedge.tick if change.state.hedge else None)
    funding.pay(change, close, book)
    if close.end:
        position.end(change)
    # A bar that was filled in carries the seq of the record that revealed the gap, which is still to come.
    filled_in = close.status is BarStatus.MISSING
    change.set(
        closed_bar=close.bar,
        last_seq=max(change.state.last_seq, close.seq - 1 if filled_in else close.seq),
        event_time_ns=close.end_time_ns,
        feed=change.state.feed if filled_in else close.feed,
        ended=close.end,
    )
    _mark(change, book, end=close.end)


def _mark(change: Change, book: Tick | None, *, end: bool) -> None:
    state = change.state
    account = state.account
    worth = value(account, book)
    wallet = account.wallet_usd
    change.emit(
        Mark,
        end=end,
        feed=state.feed,
        state=state.position.state,
        y_quantity=account.y.quantity,
        x_quantity=account.x.quantity,
        starting_usd=account.starting_usd,
        realised_usd=account.realised_usd,
        fees_usd=account.fees_usd,
        funding_usd=account.funding_usd,
        wallet_usd=wallet,
        unrealised_usd=worth.unrealised_usd,
        equity_usd=equity_usd(account, worth),
        gross_exposure_usd=worth.gross_exposure_usd,
        orders_in_bar=state.orders_in_bar,
        blocking_gate=state.blocking_gate,
        z=state.z,
    )
