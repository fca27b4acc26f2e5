"""A trace's document as lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.traces.ids import time_text

_HEAD = f"  {'service':<26}{'on the way':>12}{'in service':>12}{'since read':>12}   sent"


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Each pair's way: the services with their times in ms, then what was decided and what became of it."""
    yield f"trace {document['trace_id']}, read from the socket at {time_text(document['read_at_ns'])}"
    for way in document["ways"]:
        yield ""
        yield f"{way['pair']}  {way['kind']}, seq {way['seq']}, bar {way['bar']}, event time {time_text(way['event_time_ns'])}"
        if way["hops"]:
            yield _HEAD
        yield from (_hop(hop) for hop in way["hops"])
        yield from _outcome(way)


def _hop(hop: Mapping[str, Any]) -> str:
    times = f"{hop['on_the_way_ms']:>12.3f}{hop['in_service_ms']:>12.3f}{hop['since_read_ms']:>12.3f}"
    return f"  {hop['service']:<26}{times}   {time_text(hop['sent_ns'])}  {hop['record']}"


def _outcome(way: Mapping[str, Any]) -> Iterator[str]:
    for decision in way["decisions"]:
        z = "" if decision["z"] is None else f", z {decision['z']:.4g}"
        yield f"  decision    {decision['action']}{z}, {decision['notional_usd']} USD: {decision['reason'] or 'every gate is open'}"
    for order in way["orders"]:
        reason = f": {order['reason']}" if order["reason"] else ""
        what = f"{order['side']} {order['quantity']} {order['symbol']}, filled {order['filled']}"
        yield f"  order       {order['client_id']}  {order['status']:<16} {what}, seq {order['seq']}{reason}"
    for fill in way["fills"]:
        what = f"{fill['side']} {fill['quantity']} {fill['symbol']} at {fill['price']}, fee {fill['fee_usd']} USD"
        yield f"  fill        {fill['client_id']}  {what}, seq {fill['seq']}"
    yield from (f"  {each['type']:<11} {each['place']}" for each in way["said"])
    if way["kind"] == "tick" and not way["decisions"]:
        yield _undecided(way)


def _undecided(way: Mapping[str, Any]) -> str:
    if way["decided_within_ms"] is None:
        return "  no word of a decision: execution-service holds it, has not got it, or told later than was looked; see --within"
    return f"  nothing decided: execution-service told {way['decided_within_ms']:.0f} ms after the read, at the latest, that it was past this tick"
