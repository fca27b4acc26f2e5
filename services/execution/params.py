"""From settings and the venue's rules to what each pair runs with."""

from collections.abc import Mapping

from common.errors import ConfigurationError
from common.matching import MatchingRules
from common.rules import SymbolRules
from common.settings import Market
from services.execution.account import ZERO, split_equity
from services.execution.settings import ExecutionSettings, PaperShorts
from services.execution.state import Params


def params_of(settings: ExecutionSettings, rules: Mapping[str, SymbolRules]) -> dict[str, Params]:
    """What each configured pair runs with; raises ConfigurationError for a symbol without rules."""
    pairs = settings.trading_pairs()
    if missing := sorted({symbol for pair in pairs for symbol in (pair.y, pair.x)} - set(rules)):
        raise ConfigurationError([f"SYMBOLS: the venue has no rules for {symbol}; name symbols that it trades" for symbol in missing])
    spot, borrows = settings.binance_market is Market.SPOT, settings.paper_shorts is PaperShorts.BORROW
    shares = split_equity(settings.starting_equity_usd, len(pairs))
    return {
        str(pair): Params(
            pair=pair,
            y_rules=rules[pair.y],
            x_rules=rules[pair.x],
            starting_usd=share,
            max_position_usd=settings.max_position_size,
            fee_bps=settings.fee_bps,
            matching=MatchingRules(settings.paper_latency_ms * 1_000_000, settings.max_leg_age_ns),
            bar_interval_ns=settings.bar_interval_ns,
            max_leg_age_ns=settings.max_leg_age_ns,
            unhedged_ns=settings.unhedged_seconds * 1_000_000_000,
            cost_margin=settings.cost_margin,
            cool_down_bars=settings.cool_down_bars,
            time_stop_half_lives=settings.time_stop_half_lives,
            time_stop_bars=settings.time_stop_bars,
            advisory_gates=frozenset(settings.advisory_gates),
            max_hedge_error=settings.max_hedge_error,
            shorts_allowed=not spot or borrows,
            borrow_bps_per_day=settings.borrow_bps_per_day if spot and borrows else ZERO,
        )
        for pair, share in zip(pairs, shares, strict=True)
    }
