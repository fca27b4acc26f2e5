"""What an exchange accepts of a symbol, and the one crossing from statistics to money.

Statistics are float, money is Decimal. `round_quantity` is the only place where a float becomes a quantity; it rounds
towards less exposure, so no estimate can ever make a position larger than it said.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any, Final

from common.errors import InvalidRecord
from common.settings import Market

#: `source` of rules that an exchange stated itself.
FROM_EXCHANGE: Final = "exchange"


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """What market orders of a symbol must obey; quantities in base currency, notional in quote currency."""

    symbol: str
    price_tick: Decimal
    quantity_step: Decimal
    minimum_quantity: Decimal
    maximum_quantity: Decimal
    minimum_notional: Decimal
    status: str = "TRADING"
    #: Where the figures come from: the exchange, a dated reading of it, or an assumption.
    source: str = FROM_EXCHANGE


def towards_zero(value: float | Decimal, step: Decimal) -> Decimal:
    """The multiple of `step` next to `value` on the side of zero; raises InvalidRecord unless both are finite and the step positive."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not (exact.is_finite() and step.is_finite() and step > 0):
        raise InvalidRecord("not-finite", f"{value!r} cannot be rounded to steps of {step}")
    steps = (exact / step).to_integral_value(rounding=ROUND_DOWN)
    return steps * step + Decimal(0)


def round_quantity(quantity: float | Decimal, rules: SymbolRules) -> Decimal:
    """A quantity that the exchange takes, never larger in absolute size than the one asked for; the sign stays."""
    return towards_zero(quantity, rules.quantity_step)


def refusal(quantity: Decimal, price: Decimal, rules: SymbolRules, *, reduce_only: bool = False) -> str | None:
    """Why the exchange would refuse a market order of this size at this price, None if it would not.

    Orders that only reduce a position are exempt from the smallest notional, as on the exchange, and from nothing else.
    """
    size = abs(quantity)
    if rules.status != "TRADING":
        return f"{rules.symbol} is {rules.status}, not TRADING"
    if size > rules.maximum_quantity:
        return f"{rules.symbol}: quantity {size} is above the maximum of {rules.maximum_quantity}"
    if size < rules.minimum_quantity or size == 0:
        return f"{rules.symbol}: quantity {size} is below the minimum of {rules.minimum_quantity}"
    if size % rules.quantity_step:
        return f"{rules.symbol}: quantity {size} is no multiple of {rules.quantity_step}"
    if not reduce_only and size * price < rules.minimum_notional:
        return f"{rules.symbol}: notional {size * price} is below the minimum of {rules.minimum_notional}"
    return None


def parse_exchange_info(document: Mapping[str, Any], market: Market, symbols: Collection[str] | None = None) -> dict[str, SymbolRules]:
    """The rules of the symbols in an `exchangeInfo` answer, by symbol; on futures of perpetual contracts only.

    Raises InvalidRecord when the document has no symbols, or one that is asked for (default: any) lacks a needed filter.
    """
    entries = document.get("symbols") if isinstance(document, Mapping) else None
    if not isinstance(entries, Sequence):
        raise InvalidRecord("invalid-exchange-info", "the answer has no list of symbols")
    wanted = [entry for entry in entries if _is_tradable_kind(entry, market) and (symbols is None or entry.get("symbol") in symbols)]
    return {str(entry.get("symbol")): _rules_of(entry, market) for entry in wanted}


def _is_tradable_kind(entry: Any, market: Market) -> bool:
    return isinstance(entry, Mapping) and (market is Market.SPOT or entry.get("contractType") == "PERPETUAL")


def _rules_of(entry: Mapping[str, Any], market: Market) -> SymbolRules:
    symbol = str(entry.get("symbol"))
    filters = {str(part.get("filterType")): part for part in entry.get("filters") or () if isinstance(part, Mapping)}
    lots = [_needed(filters, symbol, "LOT_SIZE")]
    if market_lot := filters.get("MARKET_LOT_SIZE"):
        lots.append(market_lot)
    # Zero switches a bound off: spot symbols carry a MARKET_LOT_SIZE with a step of zero.
    maximums = [bound for lot in lots if (bound := _number(lot, "maxQty", symbol)) > 0]
    return SymbolRules(
        symbol=symbol,
        price_tick=_positive(_needed(filters, symbol, "PRICE_FILTER"), "tickSize", symbol),
        quantity_step=max(_positive(lots[0], "stepSize", symbol), *(_number(lot, "stepSize", symbol) for lot in lots)),
        minimum_quantity=max(_number(lot, "minQty", symbol) for lot in lots),
        maximum_quantity=min(maximums) if maximums else Decimal("Infinity"),
        minimum_notional=_minimum_notional(filters, symbol, market),
        status=str(entry.get("status", "UNKNOWN")),
        source=str(entry.get("source", FROM_EXCHANGE)),
    )


def _minimum_notional(filters: Mapping[str, Mapping[str, Any]], symbol: str, market: Market) -> Decimal:
    """Futures spell it MIN_NOTIONAL.notional; spot NOTIONAL.minNotional, older spot symbols MIN_NOTIONAL.minNotional."""
    if market is Market.FUTURES:
        return _number(_needed(filters, symbol, "MIN_NOTIONAL"), "notional", symbol)
    return _number(_needed(filters, symbol, "NOTIONAL", "MIN_NOTIONAL"), "minNotional", symbol)


def _needed(filters: Mapping[str, Mapping[str, Any]], symbol: str, *names: str) -> Mapping[str, Any]:
    found = next((filters[name] for name in names if name in filters), None)
    if found is None:
        raise InvalidRecord("invalid-exchange-info", f"{symbol} has no filter {' or '.join(names)}")
    return found


def _number(part: Mapping[str, Any], field: str, symbol: str) -> Decimal:
    try:
        value = Decimal(str(part[field]))
    except (KeyError, InvalidOperation) as error:
        raise InvalidRecord("invalid-exchange-info", f"{symbol}: {part.get('filterType')}.{field} is missing or no number") from error
    if not value.is_finite() or value < 0:
        raise InvalidRecord("invalid-exchange-info", f"{symbol}: {part.get('filterType')}.{field} is {value}")
    return value


def _positive(part: Mapping[str, Any], field: str, symbol: str) -> Decimal:
    value = _number(part, field, symbol)
    if value == 0:
        raise InvalidRecord("invalid-exchange-info", f"{symbol}: {part.get('filterType')}.{field} is 0")
    return value
