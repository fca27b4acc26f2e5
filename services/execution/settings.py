"""Settings of execution."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from common.settings import Exchange, Market, Secret, Settings, setting

_BINANCE_URLS = {
    Market.FUTURES: "https://fapi.binance.com",
    Market.SPOT: "https://api.binance.com",
}

#: Gates that may be reported without blocking; the others guard money.
MAY_BE_ADVISORY = ("cost",)


class PaperShorts(StrEnum):
    """What a paper order on spot does that needs a short."""

    REFUSE = "refuse"
    BORROW = "borrow"


class ExecutionSettings(Settings, frozen=True, kw_only=True):
    """What execution is told."""

    enable_paper_trading: Annotated[bool, setting("paper trading; orders to a venue are not there yet", "true")] = True
    binance_testnet: Annotated[bool, setting("orders to a venue go to Binance's testnet; on paper it does not matter", "true")] = True
    live_trading_confirm: Annotated[
        str, setting("name of the account whose real money orders may move; needed besides ENABLE_PAPER_TRADING=false and BINANCE_TESTNET=false", "main")
    ] = ""
    binance_api_key: Annotated[Secret, setting("key of the account that orders are for; unused on paper", "see BINANCE_API_KEY_FILE")] = Secret("")
    binance_api_secret: Annotated[Secret, setting("secret of that key; unused on paper", "see BINANCE_API_SECRET_FILE")] = Secret("")
    binance_rest_url: Annotated[
        str,
        setting(
            "REST server for the symbols' rules; default: of EXCHANGE, BINANCE_MARKET and SIMULATOR_ADDRESS",
            "http://127.0.0.1:8010",
            pattern=r"^(https?://\S+)?$",
        ),
    ] = ""
    starting_equity_usd: Annotated[Decimal, setting("equity of a new paper account, split evenly over the pairs, USD", "100000", gt=0)] = Decimal(100_000)
    max_position_size: Annotated[Decimal, setting("largest gross notional of a pair, USD", "10000", gt=0)] = Decimal(10_000)
    cost_margin: Annotated[float, setting("an entry's expected edge must be at least this many times its cost", "1.5", ge=0)] = 1.5
    advisory_gates: Annotated[tuple[str, ...], setting("gates that are reported and do not block, comma separated; only `cost` may be", "cost")] = ()
    max_hedge_error: Annotated[
        float, setting("largest share of an entry's gross notional that rounding to the venue's steps may leave without a hedge", "0.02", gt=0, le=1)
    ] = 0.02
    cool_down_bars: Annotated[int, setting("bars without an entry after a position has closed", "5", ge=0)] = 5
    time_stop_half_lives: Annotated[float, setting("longest time in a position, half-lives of the spread where known", "2", gt=0)] = 2.0
    time_stop_bars: Annotated[int, setting("longest time in a position where the half-life is not known, bars", "120", ge=1)] = 120
    unhedged_seconds: Annotated[int, setting("longest event time between the first leg's first fill and the second's last, seconds", "180", ge=1)] = 180
    paper_latency_ms: Annotated[int, setting("from a decision to the earliest book that may fill it, event time, ms", "50", ge=0)] = 50
    paper_shorts: Annotated[PaperShorts, setting("paper orders on spot that need a short: refuse them or charge for borrowing", "refuse")] = PaperShorts.REFUSE
    borrow_bps_per_day: Annotated[Decimal, setting("cost of borrowing with PAPER_SHORTS=borrow, bps of notional a day", "3", ge=0)] = Decimal(3)
    max_signal_wait_ms: Annotated[int, setting("live: longest wait for the risk signal of the previous bar, ms", "250", ge=0)] = 250

    max_data_age_ms: Annotated[int, setting("live: oldest tick that new exposure may rest on, since its first frame was read, ms", "500", ge=1)] = 500

    def problems(self) -> list[str]:
        """Adds the rules of trading."""
        found = Settings.problems(self) + self._account_problems()
        found += [
            f"ADVISORY_GATES: {name!r} must block; only {', '.join(MAY_BE_ADVISORY)} may be advisory"
            for name in self.advisory_gates
            if name not in MAY_BE_ADVISORY
        ]
        return found

    def _account_problems(self) -> list[str]:
        """Whose money would be traded, said more than once."""
        found = []
        if not self.enable_paper_trading:
            unnamed = not self.binance_testnet and not self.live_trading_confirm
            confirm = ", and LIVE_TRADING_CONFIRM names no account whose real money BINANCE_TESTNET='false' would trade" if unnamed else ""
            missing = f"orders to a test or live venue are not there yet, only paper trading is{confirm}"
            found.append(f"ENABLE_PAPER_TRADING='false': {missing}; set ENABLE_PAPER_TRADING=true")
        if bool(self.binance_api_key) != bool(self.binance_api_secret):
            found.append("BINANCE_API_KEY, BINANCE_API_SECRET: one is of no use without the other; set both, each also as a file by _FILE, or none")
        return found

    @property
    def rest_url(self) -> str:
        """The given REST server, else the usual one."""
        usual = f"http://{self.simulator_address}" if self.exchange is Exchange.SIMULATOR else _BINANCE_URLS[self.binance_market]
        return self.binance_rest_url or usual

    @property
    def stamp(self) -> dict[str, str]:
        """What the ledger belongs to; bar numbers mean nothing in another bar interval."""
        return {
            "environment": "paper",
            "venue": f"{self.exchange}-{self.binance_market}",
            "account": "paper",
            "bar_interval_seconds": str(self.bar_interval_seconds),
        }
