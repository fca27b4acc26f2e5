"""Questions to begin with on the page "Queries", and their expressions."""

from collections.abc import Mapping
from types import MappingProxyType

#: These can be asked of the services themselves, too.
PLAIN: Mapping[str, str] = MappingProxyType(
    {
        "z of every pair": "crypto_bot_z",
        "Entry, exit and stop thresholds": "crypto_bot_threshold_z",
        "Equity of every pair, USD": "crypto_bot_equity_usd",
        "Resident memory of every service, bytes": "process_resident_memory_bytes",
    }
)
_SLIPPAGE = "histogram_quantile(0.9, sum by (pair, le) (increase(crypto_bot_slippage_bps_bucket[1h])))"
#: All of them.
EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        **PLAIN,
        "Profit by part, USD": "sum by (part) (crypto_bot_pnl_usd)",
        "Distance to an entry, share of the threshold": 'crypto_bot_entry_distance_z / ignoring (threshold) crypto_bot_threshold_z{threshold="entry"}',
        "Entries blocked in the last hour, by gate": "topk(5, sum by (gate) (increase(crypto_bot_entries_blocked_total[1h])))",
        "Fills a minute": "sum by (pair) (rate(crypto_bot_fills_total[5m])) * 60",
        "Slippage that one fill in ten exceeds, last hour, bps": _SLIPPAGE,
        "From socket to decision, 99th percentile, s": "histogram_quantile(0.99, sum by (le) (rate(crypto_bot_tick_to_decision_seconds_bucket[5m])))",
        "Records a second, by service": "sum by (job) (rate(crypto_bot_records_consumed_total[1m]))",
        "Dead letters in the last hour, by reason": "sum by (source, reason) (increase(crypto_bot_dead_letters_total[1h]))",
    }
)
