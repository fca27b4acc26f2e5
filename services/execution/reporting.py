"""What metrics and logs say about what happened."""

from collections.abc import Iterable
from typing import Any

from common.messages import CommandApplied, Decision, Execution, ExposureStop, Fill, HoldExpired, Mark, OrderEvent, OrderStatus, RoundTrip
from common.processor import Observer

#: Level, event and fields.
Line = tuple[str, str, dict[str, Any]]


def report(observer: Observer, outputs: Iterable[Execution], trace_id: str = "") -> None:
    """Count what happened, and log what a person may ask about; `trace_id` names the tick that caused it."""
    for output in outputs:
        _count(observer, output)
        if line := _line(output):
            level, event, fields = line
            traced = {"trace_id": trace_id} if trace_id else {}
            observer.log(level, event, pair=output.pair, bar=output.bar, seq=output.seq, **fields, **traced)


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


def _line(output: Execution) -> Line | None:
    """What is logged of it."""
    line: Line | None = None
    match output:
        case Decision():
            line = "INFO", "decision", {"action": output.action, "reason": output.reason, "z": output.z, "notional_usd": str(output.notional_usd)}
        case OrderEvent(status=OrderStatus.REJECTED):
            line = "WARNING", "order rejected", {**_order(output), "reason": output.reason}
        case OrderEvent(status=OrderStatus.WORKING | OrderStatus.CANCELLED):
            line = "INFO", "order", {**_order(output), "status": output.status, "filled": str(output.filled), "reason": output.reason}
        case Fill():
            line = "INFO", "fill", {**_order(output), "price": str(output.price), "fee_usd": str(output.fee_usd), "trade_id": output.trade_id}
        case RoundTrip():
            line = "INFO", "round trip", {"action": output.action, "net_usd": str(output.net_usd)}
        case HoldExpired():
            line = "WARNING", "risk signal late", {"risk_bar": output.risk_bar}
        case CommandApplied():
            line = "WARNING", "command obeyed", {"command_id": output.command_id, "kind": output.kind}
        case Mark():
            line = "DEBUG", "bar closed", {"equity_usd": str(output.equity_usd), "blocking_gate": output.blocking_gate, "z": output.z}
        case _:
            pass
    return line


def _order(output: OrderEvent | Fill) -> dict[str, Any]:
    return {"client_id": output.client_id, "symbol": output.symbol, "side": output.side, "quantity": str(output.quantity)}
