"""What metrics and logs say about what happened."""

from collections.abc import Iterable

from common.messages import CommandApplied, Decision, Execution, ExposureStop, Fill, HoldExpired, Mark, OrderEvent, OrderStatus, RoundTrip
from common.processor import Observer


def report(observer: Observer, outputs: Iterable[Execution]) -> None:
    """Count what happened, and log what a person may ask about."""
    for output in outputs:
        _count(observer, output)
        _log(observer, output)


def _count(observer: Observer, output: Execution) -> None:
    pair = output.pair
    match output:
        case Mark():
            observer.gauge("crypto_bot_equity_usd", float(output.equity_usd), pair=pair)
            observer.gauge("crypto_bot_gross_exposure_usd", float(output.gross_exposure_usd), pair=pair)
            if output.blocking_gate:
                observer.count("crypto_bot_entries_blocked_total", pair=pair, gate=output.blocking_gate)
        case Decision():
            observer.count("crypto_bot_decisions_total", pair=pair, action=output.action)
        case OrderEvent():
            observer.count("crypto_bot_orders_total", pair=pair, status=output.status)
        case Fill():
            observer.count("crypto_bot_fills_total", pair=pair)
            observer.count("crypto_bot_traded_usd_total", float(output.quantity * output.price), pair=pair)
        case RoundTrip():
            observer.count("crypto_bot_round_trips_total", pair=pair)
            observer.count("crypto_bot_unhedged_usd_seconds_total", float(output.unhedged_usd_seconds), pair=pair)
        case HoldExpired():
            observer.count("crypto_bot_holds_expired_total", pair=pair)
        case ExposureStop(stopped=True):
            observer.count("crypto_bot_exposure_stops_total", pair=pair, cause=output.cause)
        case _:
            pass


def _log(observer: Observer, output: Execution) -> None:
    match output:
        case Decision():
            observer.log("INFO", "decision", pair=output.pair, bar=output.bar, seq=output.seq, action=output.action, reason=output.reason, z=output.z)
        case OrderEvent(status=OrderStatus.REJECTED):
            observer.log("WARNING", "order rejected", pair=output.pair, client_id=output.client_id, reason=output.reason)
        case RoundTrip():
            observer.log("INFO", "round trip", pair=output.pair, bar=output.bar, action=output.action, net_usd=str(output.net_usd))
        case HoldExpired():
            observer.log("WARNING", "risk signal late", pair=output.pair, bar=output.bar, risk_bar=output.risk_bar)
        case CommandApplied():
            observer.log("WARNING", "command obeyed", pair=output.pair, command_id=output.command_id, kind=output.kind)
        case _:
            pass
