"""Trading rules of the simulated exchange, and the `exchangeInfo` answers made of them in the exchange's own shape.

Figures that were read from the exchange carry that date as their source; all others are assumed and say so.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from common.settings import Market

ASSUMED: Final = "assumed"
_READ_ON: Final = "binance 2026-09-30"


class RuleRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one symbol, as a rules file beside a recording states them."""

    symbol: str
    price_tick: Decimal
    quantity_step: Decimal
    minimum_quantity: Decimal
    maximum_quantity: Decimal
    maximum_market_quantity: Decimal
    minimum_notional: Decimal
    status: str = "TRADING"
    source: str = ASSUMED


class RulesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `rules.json`."""

    market: Market
    symbols: tuple[RuleRow, ...]


#: What is known of the exchange's live figures.
_KNOWN: Final[Mapping[tuple[Market, str], Mapping[str, Any]]] = {
    (Market.FUTURES, "BTCUSDT"): {
        "price_tick": Decimal("0.10"),
        "quantity_step": Decimal("0.001"),
        "minimum_quantity": Decimal("0.001"),
        "maximum_quantity": Decimal(1000),
        "maximum_market_quantity": Decimal(120),
        "minimum_notional": Decimal(50),
        "source": _READ_ON,
    },
    (Market.FUTURES, "ETHUSDT"): {"minimum_notional": Decimal(20), "source": f"minimum notional {_READ_ON}, all else {ASSUMED}"},
}


def rule_row(market: Market, symbol: str, price: float, decimals: int) -> RuleRow:
    """The known figures of a symbol, completed by assumed ones derived from a price of it and the decimals its prices have."""
    step = Decimal(1).scaleb(min(0, -math.floor(math.log10(price))))
    assumed: dict[str, Any] = {
        "price_tick": Decimal(1).scaleb(-decimals),
        "quantity_step": step,
        "minimum_quantity": step,
        "maximum_quantity": step * 10_000_000,
        "maximum_market_quantity": step * 1_000_000,
        "minimum_notional": Decimal(5),
    }
    return RuleRow(symbol=symbol, **(assumed | dict(_KNOWN.get((market, symbol), {}))))


def exchange_info(market: Market, rows: Iterable[RuleRow], server_time_ms: int) -> dict[str, Any]:
    """The answer to `GET exchangeInfo`; each symbol says in `source` where its figures come from."""
    weight = 2400 if market is Market.FUTURES else 6000
    document: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": server_time_ms,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}],
        "exchangeFilters": [],
    }
    if market is Market.SPOT:
        return document | {"symbols": [_spot_symbol(row) for row in rows]}
    symbols = [_futures_symbol(row) for row in rows]
    assets = [{"asset": asset, "marginAvailable": True, "autoAssetExchange": None} for asset in sorted({entry["quoteAsset"] for entry in symbols})]
    return document | {"futuresType": "U_MARGINED", "assets": assets, "symbols": symbols}


def decimals_of(step: Decimal) -> int:
    """How many decimals a step is written with."""
    return max(0, -int(step.as_tuple().exponent))


def _futures_symbol(row: RuleRow) -> dict[str, Any]:
    base, quote = _assets(row.symbol)
    return {
        "symbol": row.symbol,
        "pair": row.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": row.status,
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": decimals_of(row.price_tick),
        "quantityPrecision": decimals_of(row.quantity_step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": _text(row.price_tick), "maxPrice": "4529764", "tickSize": _text(row.price_tick)},
            _lot("LOT_SIZE", row, row.maximum_quantity),
            _lot("MARKET_LOT_SIZE", row, row.maximum_market_quantity),
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": _text(row.minimum_notional)},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
            {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "source": row.source,
    }


def _spot_symbol(row: RuleRow) -> dict[str, Any]:
    base, quote = _assets(row.symbol)
    return {
        "symbol": row.symbol,
        "status": row.status,
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": _text8(row.price_tick), "maxPrice": "1000000.00000000", "tickSize": _text8(row.price_tick)},
            {"filterType": "LOT_SIZE", "minQty": _text8(row.minimum_quantity), "maxQty": _text8(row.maximum_quantity), "stepSize": _text8(row.quantity_step)},
            # A step of zero means that the one of LOT_SIZE applies, as on the exchange.
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": _text8(row.maximum_market_quantity), "stepSize": "0.00000000"},
            {
                "filterType": "NOTIONAL",
                "minNotional": _text8(row.minimum_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
        "source": row.source,
    }


def _lot(kind: str, row: RuleRow, maximum: Decimal) -> dict[str, Any]:
    return {"filterType": kind, "minQty": _text(row.minimum_quantity), "maxQty": _text(maximum), "stepSize": _text(row.quantity_step)}


def _assets(symbol: str) -> tuple[str, str]:
    quote = next((ending for ending in ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR") if symbol.endswith(ending)), symbol[-4:])
    return symbol[: -len(quote)], quote


def _text(value: Decimal) -> str:
    return format(value, "f")


def _text8(value: Decimal) -> str:
    return format(value, ".8f")
